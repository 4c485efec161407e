"""Offsets of many partitions: one refused partition leaves out only itself, and moving leaders are asked again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from streams.operations.kafka_admin import KafkaAdmin, KafkaRefusedError
from streams.operations.partition_offsets import PartitionOffsets
from tests.support.kafka_records import Answer

PLACES = [("a", number) for number in range(100)]
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
    requests: list[int] = field(default_factory=list)
    refreshed: int = 0

    def offset_reader(self, group: str) -> "Cluster":
        assert group == "reader"
        return self

    def list_topics(self, client: "Cluster") -> None:
        assert client is self
        self.refreshed += 1

    def offsets_for_times(self, partitions: Sequence[TopicPartition], timeout: float) -> list[Answer]:
        assert timeout == self.timeout
        self.requests.append(len(partitions))
        if self.refreshed < self.moving:
            moved = KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)
            return [Answer(one.topic, one.partition, -1, moved) for one in partitions]
        for one in partitions:
            if (code := self.refused.get(one.partition)) is not None:
                raise KafkaException(KafkaError(code))
        return [Answer(one.topic, one.partition, ENDS[one.offset]) for one in partitions]


def reader(cluster: Cluster) -> PartitionOffsets:
    return PartitionOffsets(cast("KafkaAdmin", cluster), "reader")


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
    assert (cluster.refreshed, cluster.requests) == (2, [100, 100, 100])


def test_a_leader_that_keeps_moving_is_a_refusal() -> None:
    """It is asked until the time of one request is up."""
    found = reader(Cluster(moving=1_000, timeout=0.3)).next(PLACES[:2])
    assert {offset.code for offset in found.values() if isinstance(offset, KafkaRefusedError)} == {
        KafkaError.NOT_LEADER_FOR_PARTITION
    }
    assert len(found) == 2


def test_a_leader_without_an_answer_fails_the_reading() -> None:
    """The message says what does not answer. A broker answered the request for metadata."""
    cluster = Cluster({3: KafkaError._TIMED_OUT})
    with pytest.raises(KafkaRefusedError, match="the leader of some does not answer"):
        reader(cluster).first(PLACES)
    assert (cluster.refreshed, cluster.requests) == (1, [100])
