"""Where reading starts: unknown committed offsets wait, and the number of requests does not grow."""

from dataclasses import dataclass, field
from typing import cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from streams.transport.kafka.group import Group
from streams.transport.kafka.offset_commits import OffsetCommits
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.partitions.faults import TopicFaults
from streams.transport.kafka.partitions.start_offsets import RETRY_SECONDS, StartOffsets
from streams.transport.kafka.records import Assignment
from tests.support.kafka_records import Answer

GROUP = Group("high", "streams.high", ("a",))
TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT))
REFUSED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


@dataclass
class Broker:
    """Answers as a consumer does, or raises. Counts the requests."""

    committed_offsets: dict[int, int | KafkaError] | None
    first: int | None = 0
    requests: list[str] = field(default_factory=list)

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[Answer]:
        assert timeout > 0
        self.requests.append("committed")
        if self.committed_offsets is None:
            raise TIMED_OUT
        found = [(one, self.committed_offsets.get(one.partition, OFFSET_INVALID)) for one in partitions]
        return [
            Answer(one.topic, one.partition, OFFSET_INVALID, at)
            if isinstance(at, KafkaError)
            else Answer(one.topic, one.partition, at)
            for one, at in found
        ]

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> list[Answer]:
        assert timeout > 0
        assert {one.offset for one in partitions} == {OFFSET_BEGINNING}
        self.requests.append("offsets_for_times")
        if self.first is None:
            raise TIMED_OUT
        return [Answer(one.topic, one.partition, self.first) for one in partitions]


def starts(broker: Broker, count: int = 1) -> tuple[StartOffsets, Consumer, TopicFaults]:
    faults = TopicFaults(GROUP)
    made = StartOffsets(GROUP, faults)
    made.add(TopicPartition("a", number) for number in range(count))
    return made, cast("Consumer", broker), faults


@pytest.mark.requirement("Faults of others", "c13: a committed offset that is unknown is not taken for none")
def test_a_partition_waits_while_its_committed_offset_is_unknown() -> None:
    """Nothing is read from the start of the log. After a while it is asked again, and starts where it was committed."""
    broker = Broker(None)
    made, consumer, _ = starts(broker)
    assert made.look_up(consumer, 100.0) == []
    assert not made.are_due(100.0)
    assert made.are_due(100.0 + RETRY_SECONDS)
    broker.committed_offsets = {0: 45}
    (start,) = made.look_up(consumer, 100.0 + RETRY_SECONDS)
    assert (start.committed, start.assigned.offset) == (45, 45)
    assert not made.are_due(1000.0)


@pytest.mark.requirement("Faults of others", "c13: a committed offset that is unknown is not taken for none")
def test_one_partition_without_an_answer_does_not_hold_the_others() -> None:
    """Its fault is known; the other partition starts at once."""
    made, consumer, faults = starts(Broker({0: REFUSED, 1: 7}), count=2)
    (start,) = made.look_up(consumer, 100.0)
    assert (start.partition, start.assigned.offset) == (1, 7)
    assert faults.partitions() == [("a", 0)]
    assert made.are_due(100.0 + RETRY_SECONDS)


@pytest.mark.requirement("Faults of others", "R24: partitions without a leader do not stall the poll thread")
def test_an_assignment_takes_two_requests_whatever_its_size() -> None:
    """The first offsets of a hundred partitions are one request. Without an answer, librdkafka looks them up alone."""
    broker = Broker({}, first=None)
    made, consumer, _ = starts(broker, count=100)
    found = made.look_up(consumer, 100.0)
    assert broker.requests == ["committed", "offsets_for_times"]
    assert {start.assigned.offset for start in found} == {OFFSET_BEGINNING}
    assert len(found) == 100


def test_without_a_commit_reading_starts_at_the_first_offset() -> None:
    """The first offset is known, so that it can be committed."""
    made, consumer, _ = starts(Broker({}, first=12))
    (start,) = made.look_up(consumer, 100.0)
    assert (start.committed, start.first, start.assigned.offset) == (None, 12, 12)


def test_a_revoked_partition_is_not_looked_up_again() -> None:
    made, consumer, _ = starts(Broker({0: 3}))
    made.remove([TopicPartition("a", 0)])
    assert made.look_up(consumer, 100.0) == []


@pytest.mark.requirement("Faults of others", "R24: partitions without a leader do not stall the poll thread")
def test_the_last_commit_of_revoked_partitions_is_not_awaited() -> None:
    """A frozen broker would hold the poll thread for a minute."""
    sent: list[tuple[int, bool]] = []

    class Client:
        def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
            sent.extend((one.offset, asynchronous) for one in offsets)

    state = PartitionState(Assignment("a", 0), GROUP, start=5)
    commits = OffsetCommits(GROUP, lambda *_: state, TopicFaults(GROUP))
    commits.send_last(cast("Consumer", Client()), [state])
    assert sent == [(5, True)]


@pytest.mark.requirement("Faults of others", "c18a: a lost right to read one topic stops this topic alone")
def test_a_refused_commit_is_the_fault_of_its_topic() -> None:
    """It ends when a later commit of the partition is accepted. The other partition is committed."""
    states = {number: PartitionState(Assignment("a", number), GROUP, start=5) for number in (0, 1)}
    faults = TopicFaults(GROUP)
    commits = OffsetCommits(GROUP, lambda _, number: states[number], faults)

    def answer(error: KafkaError | None) -> None:
        partitions = [Answer("a", 0, 5, error), Answer("a", 1, 5)]
        commits.on_commit(error, cast("list[TopicPartition]", partitions))

    answer(REFUSED)
    assert faults.partitions() == [("a", 0)]
    assert (states[0].committed, states[1].committed) == (None, 5)
    assert commits.failures == 0
    answer(None)
    assert not faults
    assert states[0].committed == 5
