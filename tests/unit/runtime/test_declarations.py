"""A worker consumes only the topics that have a handler."""

import pytest

from schemas import DocumentDeleted, MessageCreated
from streams.runtime.declarations import build_groups, build_handlers, topics_to_read
from streams.topics import POOLS
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
