"""A worker consumes only the topics that have a handler."""

from dataclasses import replace
from typing import cast

import pytest

from schemas import DocumentDeleted, Event, MessageCreated
from streams.runtime.declarations import build_groups, build_handlers, declaration_problems, topics_to_read
from streams.settings import PoolName
from streams.topics import BUILT_IN, POOLS, Catalogue, Topic
from tests.support.factories import CATALOGUE, SETTINGS, a_handler


@pytest.mark.requirement("Bridges", "events whose handler comes later are not acknowledged before it is there")
def test_a_topic_without_a_handler_is_in_no_group() -> None:
    """Otherwise its offsets would be committed with no work done."""
    read = topics_to_read(CATALOGUE, [a_handler()])
    assert read == {CATALOGUE.of(DocumentDeleted).name}
    groups = {group.pool: group.topics for group in build_groups(CATALOGUE, read, POOLS)}
    assert groups["low"][0] == "document.deleted"
    assert CATALOGUE.of(MessageCreated).name not in groups["high"]


def test_retry_tiers_are_always_consumed() -> None:
    """The last handler of a pool may be removed while its deliveries wait."""
    for group in build_groups(CATALOGUE, frozenset(), POOLS):
        assert set(group.topics) == set(CATALOGUE.tiers(group.pool))  # type: ignore[arg-type]  # a pool's name


def test_the_handlers_of_this_version_have_their_topics() -> None:
    handlers = build_handlers(SETTINGS)
    read = topics_to_read(CATALOGUE, handlers)
    assert {handler.event for handler in handlers} == {topic.event for topic in CATALOGUE if topic.name in read}


class OrderPaid(Event):
    """An event of a package."""

    order_id: str


START = "At start a worker checks the catalogue: every handler's topic exists, in exactly one pool, partitions match"
PAID = Topic("order.paid", OrderPaid, key="order_id", pool="high")


def problems_of(*topics: Topic, event: type[Event] = OrderPaid) -> list[str]:
    handler = replace(a_handler("send-invoice"), event=event)
    return declaration_problems(Catalogue([*BUILT_IN, *topics], SETTINGS), [*build_handlers(SETTINGS), handler])


@pytest.mark.requirement("The whole domain", START)
def test_a_topic_without_a_handler_is_an_extension_point() -> None:
    assert problems_of(PAID) == []
    assert problems_of(PAID, event=DocumentDeleted) == []


@pytest.mark.requirement("The whole domain", START)
def test_what_is_wrong_with_the_declarations_is_one_line_each() -> None:
    """Without the check, such a handler or topic would never run, and nobody would know."""
    (problem,) = problems_of()
    assert problem.startswith("handler send-invoice: its event class OrderPaid has no topic; add one to TOPICS of a ")
    assert problems_of(PAID, replace(PAID, name="order.settled", pool="low")) == [
        "the events of OrderPaid have two topics, order.paid and order.settled: remove one of them"
    ]
    assert problems_of(PAID, PAID) == ["topic order.paid is declared twice: remove one declaration"]
    assert problems_of(replace(PAID, pool=cast("PoolName", "hihg"))) == [
        "topic order.paid is in the pool 'hihg'; there are: high, default, low"
    ]
