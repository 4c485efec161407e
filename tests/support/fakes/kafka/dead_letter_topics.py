"""DLQs as librdkafka's consumer shows them, also hidden ones and ones without a leader, and rows of their index."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import ClusterMetadata, TopicMetadata

from streams.operations.dead_letters.index import DeadLetter
from tests.support.kafka_records import cluster_of, described

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class DeadLetterTopics:
    """Answers as librdkafka's consumer does. Each partition has three records."""

    topics: dict[str, TopicMetadata]
    seconds: float
    """The time limit of a request."""
    silent: set[str] = field(default_factory=set)
    """Topics whose leaders do not answer."""
    lost_after: int | None = None
    """After this number of requests for topics, no broker answers."""
    next_offset: int = 0
    assigned: TopicPartition | None = None

    def __call__(self, _config: dict[str, Any], **_more: object) -> "DeadLetterTopics":
        return self

    def list_topics(self, topic: str, timeout: float) -> ClusterMetadata:
        assert timeout == self.seconds
        if self.lost_after is not None:
            self.lost_after -= 1
            if self.lost_after < 0:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return cluster_of([self.topics.get(topic) or described(topic, [], KafkaError.UNKNOWN_TOPIC_OR_PART)])

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout == self.seconds
        assert self.topics[partition.topic].partitions[partition.partition].leader >= 0, "this would wait"
        if partition.topic in self.silent:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return 0, 3

    def assign(self, partitions: list[TopicPartition]) -> None:
        (self.assigned,) = partitions
        self.next_offset = self.assigned.offset

    def unassign(self) -> None:
        self.assigned = None

    def consume(self, _count: int, timeout: float) -> list[Message]:
        del timeout
        assert self.assigned is not None
        topic, number, first = self.assigned.topic, self.assigned.partition, self.next_offset
        self.next_offset = 3
        return [
            Message(topic=topic, partition=number, offset=offset, timestamp=(1, 1), headers=[])
            for offset in range(first, 3)
        ]

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(one.topic, one.partition, self.next_offset) for one in partitions]

    def poll(self, _timeout: float) -> None:
        """Call no callback."""

    def close(self) -> None:
        """Close nothing."""


def letter(dlq_topic: str, offset: int = 0, partition: int = 0) -> DeadLetter:
    """Return the index's row of a record in a DLQ."""
    return DeadLetter(
        id=f"{dlq_topic}:{partition}:{offset}",
        topic="t",
        tenant_id=None,
        handler="h",
        reason="exhausted",
        error_type="E",
        error_message="m",
        partition=0,
        offset=0,
        event_id=None,
        attempts=1,
        first_failed_at=LONG_AGO,
        died_at=LONG_AGO,
        replayed_at=None,
        replayed_by=None,
        dlq_topic=dlq_topic,
        dlq_partition=partition,
        dlq_offset=offset,
    )
