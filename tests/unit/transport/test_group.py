"""Groups and their agents, the fence of an assignment, and when a partition is paused or has an offset to commit."""

import pytest

from streams.settings import Settings
from streams.transport.kafka.client import client_config, consumer_config, producer_config
from streams.transport.kafka.errors import StartError
from streams.transport.kafka.group import Group, LagSample, check_readers
from streams.transport.kafka.partition import SLOW_SECONDS, PartitionState, oldest_unsettled
from streams.transport.kafka.records import Assignment, Chunk, Record

GROUP = Group("high", "streams.high", ("a", "b"), high=10, low=3)


def records(count: int, first: int = 0) -> list[Record]:
    return [Record("a", 0, first + number, 0, "CreateTime", None, None, ()) for number in range(count)]


def owned() -> PartitionState:
    return PartitionState(Assignment("a", 0, GROUP.group_id), GROUP)


def hand_over(partition: PartitionState, count: int) -> Chunk:
    chunk = Chunk(partition.assignment, records(count, partition.posted))
    partition.posted += count
    partition.assignment.deliver(chunk.records)
    return chunk


@pytest.mark.parametrize(("high", "low"), [(0, 0), (10, 0), (10, 10), (10, 11)])
def test_a_group_needs_room_between_its_bounds(high: int, low: int) -> None:
    with pytest.raises(ValueError, match="low"):
        Group("high", "streams.high", ("a",), high=high, low=low)


def test_readers_that_match_pass() -> None:
    check_readers([GROUP], {"a": ["reads a"], "b": ["reads b"]})


@pytest.mark.parametrize(
    ("groups", "readers", "line"),
    [
        ([GROUP], {"a": ["x"]}, "no agent reads b: their records would never be processed"),
        ([GROUP], {"a": ["x"], "b": ["y"], "c": ["z"]}, "agents read c, but no consumer group of this worker has"),
        ([GROUP], {"a": ["x", "y"], "b": ["z"]}, "a has 2 agents, x, y: use one agent per topic"),
        ([GROUP, Group("low", "streams.low", ("b",))], {"a": ["x"], "b": ["y"]}, "b is in two consumer groups"),
    ],
)
def test_readers_that_do_not_match_are_named(groups: list[Group], readers: dict[str, list[str]], line: str) -> None:
    with pytest.raises(StartError, match=line):
        check_readers(groups, readers)


def test_settling_after_revocation_is_ignored_and_counted() -> None:
    late: list[int] = []
    assignment = Assignment("a", 0, on_late=lambda: late.append(1))
    chunk = Chunk(assignment, records(3))
    assignment.deliver(chunk.records)
    chunk.settle(0)
    chunk.settle(0)
    assert (assignment.committable, assignment.settled, assignment.unsettled) == (1, 1, 2)
    assignment.revoked = True
    chunk.settle(1)
    assert (assignment.committable, assignment.settled, late) == (1, 1, [1])


def test_assignments_are_compared_by_identity() -> None:
    assert Assignment("a", 0) != Assignment("a", 0)
    assert len({Assignment("a", 0), Assignment("a", 0)}) == 2


def test_a_partition_rests_above_high_until_it_is_below_low() -> None:
    partition = owned()
    chunk = hand_over(partition, 11)
    assert partition.is_full()
    partition.pause(now=100.0)
    assert not partition.is_full()
    for offset in reversed(range(8)):
        chunk.settle(offset)
    assert (partition.outstanding, partition.has_room()) == (3, False)
    chunk.settle(10)
    assert partition.has_room()
    partition.paused = False
    assert not partition.is_full()


def test_records_on_their_way_to_the_loop_count_as_held() -> None:
    partition = owned()
    partition.posted = 11
    assert partition.is_full()


def test_a_partition_that_was_paused_is_slow_for_a_while() -> None:
    partition = owned()
    assert not partition.was_slow(100.0)
    partition.pause(now=100.0)
    assert partition.was_slow(100.0 + SLOW_SECONDS - 0.1)
    assert not partition.was_slow(100.0 + SLOW_SECONDS)


def test_the_start_is_committed_first_and_then_what_moves() -> None:
    partition = owned()
    assert partition.offset_to_commit() is None
    partition.start = 0
    assert partition.offset_to_commit() == 0
    partition.committed = 0
    assert partition.offset_to_commit() is None
    chunk = hand_over(partition, 2)
    chunk.settle(1)
    assert partition.offset_to_commit() is None
    chunk.settle(0)
    assert partition.offset_to_commit() == 2
    partition.committed = 2
    assert partition.offset_to_commit() is None


def test_lag_is_shown_once_both_ends_are_known() -> None:
    partition = owned()
    assert partition.lag() is None
    partition.end = 7
    assert partition.lag() is None
    partition.start = 2
    assert partition.lag() == LagSample("streams.high", "a", 0, 2, 7, 5)
    partition.committed = 9
    assert partition.lag() == LagSample("streams.high", "a", 0, 9, 7, 0)


def test_what_the_guarantees_rest_on_cannot_be_overridden() -> None:
    careless = {"enable.auto.commit": "true", "acks": "1", "group.id": "other", "auto.offset.reset": "latest"}
    settings = Settings(kafka_config={**careless, "socket.keepalive.enable": "true"})
    consumer = consumer_config(settings, GROUP)
    assert (consumer["enable.auto.commit"], consumer["group.id"]) == (False, "streams.high")
    assert consumer["auto.offset.reset"] == "error"
    assert consumer["socket.keepalive.enable"] == "true"
    assert producer_config(settings, 5.0)["acks"] == "all"
    assert producer_config(settings, 5.0)["delivery.timeout.ms"] == 5000


def test_the_new_protocol_leaves_session_and_heartbeat_to_the_broker() -> None:
    classic = consumer_config(Settings(group_protocol="cooperative"), GROUP)
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    new = consumer_config(Settings(group_protocol="consumer"), GROUP)
    assert new["group.protocol"] == "consumer"
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & new.keys()


@pytest.mark.requirement("Faults of others", "c09: added partitions are read within 30 seconds")
def test_metadata_is_refreshed_every_30_seconds() -> None:
    """With the client's default of five minutes, the classic protocol would read added partitions so late."""
    assert consumer_config(Settings(), GROUP)["topic.metadata.refresh.interval.ms"] == 30_000
    slower = Settings(kafka_config={"topic.metadata.refresh.interval.ms": "60000"})
    assert consumer_config(slower, GROUP)["topic.metadata.refresh.interval.ms"] == "60000"


def test_security_settings_are_passed_through() -> None:
    config = client_config(
        Settings.model_validate(
            {
                "kafka_security_protocol": "sasl_ssl",
                "kafka_sasl_mechanism": "SCRAM-SHA-512",
                "kafka_sasl_username": "me",
                "kafka_sasl_password": "secret",
                "kafka_ssl_ca_location": "ca.pem",
            }
        )
    )
    assert config["security.protocol"] == "sasl_ssl"
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == ("me", "secret")
    assert config["ssl.ca.location"] == "ca.pem"
    assert "ssl.key.location" not in config


@pytest.mark.requirement("Logs and metrics", "age of the oldest unsettled record by topic and group, exact")
def test_the_oldest_unsettled_record_of_a_topic_is_that_of_its_partitions() -> None:
    """It holds an offset, whatever its place among the timestamps. A topic with only unread records is left out."""
    held, settled, unread = (PartitionState(Assignment("a", number), GROUP) for number in range(3))
    for state, timestamps in ((held, [30, 20]), (settled, [5]), (unread, [7])):
        found = [Record("a", 0, offset, at, "CreateTime", None, None, ()) for offset, at in enumerate(timestamps)]
        state.post(found)
        state.assignment.deliver(found)
    settled.assignment.settle(0)
    assert oldest_unsettled([held, settled]) == {"a": 30}
    held.assignment.settle(0)
    assert oldest_unsettled([held, settled]) == {"a": 20}
    held.assignment.settle(1)
    assert oldest_unsettled([held, settled]) == {"a": None}
    unread.assignment.settle(0)
    unread.end = 1
    assert oldest_unsettled([held, settled, unread]) == {"a": None}
    unread.end = 2
    assert oldest_unsettled([held, settled, unread]) == {}
    assert oldest_unsettled([]) == {}
