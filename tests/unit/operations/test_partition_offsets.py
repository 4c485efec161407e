"""Offsets of many partitions: one refused partition leaves out only itself, and moving leaders are asked again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ClusterMetadata

from streams.operations.kafka_admin import KafkaAdmin, KafkaRefusedError, Offsets
from streams.operations.partition_offsets import PartitionOffsets
from streams.transport.kafka.errors import BrokersUnreachableError
from tests.support.kafka_records import Answer, cluster_of, described

PLACES = [("a", number) for number in range(100)]
ONE_BROKER = [1] * 100
ENDS = {OFFSET_BEGINNING: 3, OFFSET_END: 7}
STORAGE_ERROR = 56
"""Kafka's code of a log directory that failed. The client then returns no offset at all."""


@dataclass
class Cluster:
    """Answers as librdkafka's consumer does, by partitions that a broker refuses and by those whose leader moves."""

    refused: dict[int, int] = field(default_factory=dict)
    moving: int = 0
    """How many requests find a former leader."""
    timeout: float = 5.0
    leaders: list[int] = field(default_factory=lambda: ONE_BROKER)
    """The leader of each partition; -1: it has none."""
    silent: set[int] = field(default_factory=set)
    """The brokers that do not answer."""
    requests: list[int] = field(default_factory=list)
    refreshed: int = 0

    def offset_reader(self, group: str) -> "Cluster":
        assert group == "reader"
        return self

    def list_topics(self, client: "Cluster") -> ClusterMetadata:
        assert client is self
        self.refreshed += 1
        if self.refreshed > 1:
            assert not self.silent, "the client may send the request to the silent broker"
        return self.metadata()

    def metadata(self) -> ClusterMetadata:
        return cluster_of([described("a", self.leaders)])

    def offsets_for_times(self, partitions: Sequence[TopicPartition], timeout: float) -> list[Answer]:
        assert timeout == self.timeout
        self.requests.append(len(partitions))
        leaders = {self.leaders[one.partition] for one in partitions}
        if leaders & self.silent or -1 in leaders:  # the client waits until the time is up, and returns nothing
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        if self.refreshed <= self.moving:
            moved = KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)
            return [Answer(one.topic, one.partition, -1, moved) for one in partitions]
        for one in partitions:
            if (code := self.refused.get(one.partition)) is not None:
                raise KafkaException(KafkaError(code))
        return [Answer(one.topic, one.partition, ENDS[one.offset]) for one in partitions]


def reader(cluster: Cluster) -> PartitionOffsets:
    """Return a reader that knows the leaders."""
    offsets = PartitionOffsets(cast("KafkaAdmin", cluster), "reader")
    offsets.metadata()
    return offsets


def codes(offsets: Offsets) -> dict[int, int]:
    """Return the codes of the refusals by partition."""
    return {number: one.code for (_, number), one in offsets.items() if isinstance(one, KafkaRefusedError)}


def test_all_partitions_take_one_request() -> None:
    """First and next offsets are one request each, by the constants of the protocol."""
    cluster = Cluster()
    offsets = reader(cluster)
    assert offsets.first(PLACES) == dict.fromkeys(PLACES, 3)
    assert offsets.next(PLACES) == dict.fromkeys(PLACES, 7)
    assert cluster.requests == [100, 100]
    assert offsets.first([]) == {}


@pytest.mark.parametrize("refused", [{40}, {0, 99}, set(range(100))])
def test_refused_partitions_leave_out_only_themselves(refused: set[int]) -> None:
    """The others have their offsets, and each refusal has its code."""
    found = reader(Cluster(dict.fromkeys(refused, STORAGE_ERROR))).first(PLACES)
    assert set(found) == set(PLACES)
    for (_, number), offset in found.items():
        assert (offset.code if isinstance(offset, KafkaRefusedError) else offset) == (
            STORAGE_ERROR if number in refused else 3
        )


def test_moving_leaders_are_asked_again() -> None:
    """The client learns the new leaders before each further request."""
    cluster = Cluster(moving=2)
    assert reader(cluster).next(PLACES) == dict.fromkeys(PLACES, 7)
    assert (cluster.refreshed, cluster.requests) == (3, [100, 100, 100])


def test_a_leader_that_keeps_moving_is_a_refusal() -> None:
    """It is asked until the time of one request is up."""
    found = reader(Cluster(moving=1_000, timeout=0.3)).next(PLACES[:2])
    assert {offset.code for offset in found.values() if isinstance(offset, KafkaRefusedError)} == {
        KafkaError.NOT_LEADER_FOR_PARTITION
    }
    assert len(found) == 2


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
def test_a_partition_without_a_leader_leaves_out_only_itself() -> None:
    """The client would wait until the time of the request is up, and return no offset at all."""
    cluster = Cluster(leaders=[-1, *ONE_BROKER[1:]])
    offsets = reader(cluster)
    for found, expected in ((offsets.first(PLACES), 3), (offsets.next(PLACES), 7)):
        assert codes(found) == {0: KafkaError.LEADER_NOT_AVAILABLE}
        assert str(found["a", 0]) == "the offsets of a [0] cannot be read: it has no leader now"
        assert {place: found[place] for place in PLACES[1:]} == dict.fromkeys(PLACES[1:], expected)
    assert (cluster.refreshed, cluster.requests) == (1, [99, 99])


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
def test_a_leader_without_an_answer_leaves_out_only_its_partitions() -> None:
    """It costs the time of one request, not of two. The next reading asks it again."""
    cluster = Cluster(leaders=[number % 2 + 1 for number in range(100)], silent={2})
    offsets = reader(cluster)
    odd = [place for place in PLACES if place[1] % 2]
    for found, expected in ((offsets.first(PLACES), 3), (offsets.next(PLACES), 7)):
        assert list(codes(found)) == [number for _, number in odd]
        assert "its leader, broker 2, does not answer" in str(found["a", 1])
        assert {found[place] for place in PLACES if place not in odd} == {expected}
    assert cluster.requests == [50, 50, 50]
    cluster.silent.clear()
    offsets.metadata()
    assert offsets.first(PLACES) == dict.fromkeys(PLACES, 3)


def test_without_any_broker_the_reading_fails() -> None:
    """Another client asks for the topics to find out."""

    class Lost(Cluster):
        def metadata(self) -> ClusterMetadata:
            if self.requests:
                message = "no broker"
                raise BrokersUnreachableError(message)
            return super().metadata()

    with pytest.raises(BrokersUnreachableError):
        reader(Lost(silent={1})).first(PLACES)


def test_a_refused_partition_of_a_leader_leaves_out_only_itself() -> None:
    """Partitions of two leaders, each with a refusal, and one without a leader."""
    leaders = [1, 2] * 50
    leaders[7] = -1
    found = reader(Cluster(dict.fromkeys((4, 9), STORAGE_ERROR), leaders=leaders)).first(PLACES)
    assert codes(found) == {4: STORAGE_ERROR, 7: KafkaError.LEADER_NOT_AVAILABLE, 9: STORAGE_ERROR}
