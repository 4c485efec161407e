"""How lag is calculated from Kafka's offsets, and for which partitions. What cannot be read leaves out only itself."""

from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError

from streams.observability.metrics import Lag
from streams.operations import lag
from streams.operations.kafka_admin import KafkaAdmin, KafkaRefusedError, PartitionId
from streams.operations.lag import committed_offsets, group_lag, group_partitions, lag_of
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from tests.support.fakes.kafka.lag_brokers import UNREADABLE, Brokers
from tests.support.kafka_records import Answer, described

PLACE = ("document.deleted", 3)
FIRST, SECOND = "document.deleted", "message.created"
SHOP = Catalogue([topic for topic in BUILT_IN if topic.name in {FIRST, SECOND}], Settings(application="shop"))


def test_lag_counts_from_the_committed_offset() -> None:
    """The records until the end."""
    assert lag_of("streams.low", PLACE, committed=40, earliest=0, latest=100) == Lag(
        "streams.low", "document.deleted", 3, current_offset=40, end_offset=100, lag=60
    )


def test_nothing_committed_counts_from_the_earliest_record() -> None:
    """For a group that never ran, all records count that retention has not deleted."""
    never = lag_of("streams.low", PLACE, committed=None, earliest=30, latest=100)
    assert (never.current_offset, never.lag) == (30, 70)


def test_records_removed_by_retention_do_not_count() -> None:
    """They can no longer be settled."""
    late = lag_of("streams.low", PLACE, committed=10, earliest=30, latest=100)
    assert (late.current_offset, late.lag) == (30, 70)


def test_lag_is_never_negative() -> None:
    """The end may be read before a later commit."""
    assert lag_of("streams.low", PLACE, committed=101, earliest=0, latest=100).lag == 0


def test_a_pool_consumes_its_topics_and_every_tier_there_is() -> None:
    """Tiers of former delays too. Not topics of other pools or applications, not DLQs, not missing topics."""
    catalogue = Catalogue(BUILT_IN, Settings(application="shop", topic_prefix="eu."))
    existing = {
        "eu.document.deleted": 2,
        "eu.message.created": 1,
        "eu.shop.low.retry.7s": 1,
        "eu.shop.low.retry.0s": 2,
        "eu.shop.high.retry.0s": 1,
        "eu.document.deleted.shop.dlq": 2,
        "shop.low.retry.0s": 1,
        "document.deleted": 3,
    }
    assert group_partitions(catalogue, "low", existing) == [
        ("eu.document.deleted", 0),
        ("eu.document.deleted", 1),
        ("eu.shop.low.retry.0s", 0),
        ("eu.shop.low.retry.0s", 1),
        ("eu.shop.low.retry.7s", 0),
    ]
    assert group_partitions(catalogue, "default", existing) == []


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    found = Brokers([described(name, [1, 1]) for name in (FIRST, SECOND)])
    monkeypatch.setattr(lag, "KafkaAdmin", found)
    monkeypatch.setattr(lag, "PartitionOffsets", found)
    return found


def read() -> tuple[dict[PartitionId, int], dict[tuple[str, int | None], str]]:
    """Return the lag of each partition, and why that of the others is unknown."""
    reading = group_lag(Settings(), SHOP)
    known = {(one.topic, one.partition): one.lag for one in reading.lags}
    return known, {(one.topic, one.partition): str(one.error) for one in reading.unknown}


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
def test_an_unreadable_partition_leaves_out_only_its_own_lag(brokers: Brokers) -> None:
    brokers.unreadable = {(FIRST, 1)}
    known, unknown = read()
    assert known == {(FIRST, 0): 7, (SECOND, 0): 7, (SECOND, 1): 7}
    assert unknown == {(FIRST, 1): str(UNREADABLE)}


def test_a_group_whose_coordinator_does_not_answer_leaves_out_only_its_topics(brokers: Brokers) -> None:
    """Its partition of the topic of offsets has no leader. Its lag is unknown; it is not the whole log."""
    brokers.committed_ = {SHOP.group("low"): UNREADABLE, SHOP.group("high"): {(SECOND, 0): 9}}
    known, unknown = read()
    assert known == {(SECOND, 0): 1, (SECOND, 1): 7}
    assert set(unknown) == {(FIRST, 0), (FIRST, 1)}


def test_a_committed_offset_that_kafka_refuses_is_not_a_missing_one(brokers: Brokers) -> None:
    brokers.committed_ = {SHOP.group(topic.pool): {(FIRST, 0): UNREADABLE, (FIRST, 1): 9} for topic in SHOP}
    known, unknown = read()
    assert known == {(FIRST, 1): 1, (SECOND, 0): 7, (SECOND, 1): 7}
    assert set(unknown) == {(FIRST, 0)}


def test_a_topic_with_an_error_is_unknown_as_a_whole(brokers: Brokers) -> None:
    """The client lists it without partitions. It must not look as if it had no records."""
    brokers.topics[0] = described(FIRST, [], KafkaError.TOPIC_AUTHORIZATION_FAILED)
    brokers.topics.append(described("foreign", [], KafkaError.TOPIC_AUTHORIZATION_FAILED))
    known, unknown = read()
    assert set(known) == {(SECOND, 0), (SECOND, 1)}
    assert list(unknown) == [(FIRST, None)]
    assert "authorization failed" in unknown[FIRST, None]


@pytest.mark.parametrize("everything", ["groups", "partitions"])
def test_without_any_lag_the_reading_fails(brokers: Brokers, everything: str) -> None:
    if everything == "groups":
        brokers.committed_ = {SHOP.group(topic.pool): UNREADABLE for topic in SHOP}
    else:
        brokers.unreadable = {(name, number) for name in (FIRST, SECOND) for number in range(2)}
    with pytest.raises(KafkaRefusedError, match="no leader"):
        read()


def test_without_any_committed_offset_the_reading_fails() -> None:
    """A pool without partitions does not count: nobody asks for its group."""

    def read_group(_pool: str) -> dict[PartitionId, int | KafkaRefusedError]:
        raise UNREADABLE

    with pytest.raises(KafkaRefusedError, match="no leader"):
        committed_offsets(read_group, {"high": [], "low": [PLACE]})


def test_the_client_s_error_of_one_partition_is_kept() -> None:
    """Without it, a partition without a committed offset and one whose offset is unknown would be the same."""
    answers = [Answer("a", 0, 5), Answer("a", 1, -1001), Answer("a", 2, -1001, KafkaError(29))]
    consumer = SimpleNamespace(committed=lambda *_given, **_more: answers, poll=lambda _seconds: None)
    found = KafkaAdmin(Settings()).committed_by(cast("Consumer", consumer), "g", [("a", number) for number in range(3)])
    assert found.pop(("a", 0)) == 5
    ((place, refusal),) = found.items()
    assert place == ("a", 2)
    assert isinstance(refusal, KafkaRefusedError)
    assert refusal.code == KafkaError.TOPIC_AUTHORIZATION_FAILED
