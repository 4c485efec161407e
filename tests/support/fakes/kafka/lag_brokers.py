"""Kafka as the readers of lag see it, with partitions, topics and groups that cannot be read."""

from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError
from confluent_kafka.admin import ClusterMetadata, TopicMetadata

from streams.operations.kafka_admin import KafkaRefusedError, Offsets, PartitionId
from tests.support.kafka_records import cluster_of

UNREADABLE = KafkaRefusedError("it has no leader now", KafkaError.LEADER_NOT_AVAILABLE)


@dataclass
class Brokers:
    """Kafka with topics of two partitions, which hold the offsets 3 to 9."""

    topics: list[TopicMetadata]
    committed_: dict[str, Offsets | KafkaRefusedError] = field(default_factory=dict)
    """By group. A group that is missing has committed nothing."""
    unreadable: set[PartitionId] = field(default_factory=set)
    timeout: float = 1.0

    def __call__(self, *_given: object) -> "Brokers":
        return self

    def metadata(self) -> ClusterMetadata:
        return cluster_of(self.topics)

    def retry_while_moving(self, ask: Callable[[], Offsets]) -> Offsets:
        return ask()

    def committed(self, group: str, partitions: list[PartitionId]) -> Offsets:
        found = self.committed_.get(group, {})
        if isinstance(found, KafkaRefusedError):
            raise found
        return {place: found[place] for place in partitions if place in found}

    def first(self, partitions: list[PartitionId]) -> Offsets:
        return {place: UNREADABLE if place in self.unreadable else 3 for place in partitions}

    def next(self, partitions: list[PartitionId]) -> Offsets:
        return {place: UNREADABLE if place in self.unreadable else 10 for place in partitions}

    def close(self) -> None:
        """Close nothing."""

    def offset_reader(self, group: str) -> "GroupReader":
        return GroupReader(group)

    def committed_by(self, reader: "GroupReader", group: str, partitions: list[PartitionId]) -> Offsets:
        assert reader.group == group
        return self.committed(group, partitions)

    @property
    def admin(self) -> "Brokers":
        return self

    def poll(self, _seconds: float = 0) -> None:
        """Call no callback."""

    def refresh(self) -> None:
        """Learn nothing."""

    def describe_consumer_groups(self, _groups: list[str], **_more: float) -> dict[str, object]:
        return {}

    def describe_configs(self, _resources: list[object], **_more: float) -> dict[object, object]:
        return {}


@dataclass
class GroupReader:
    """The consumer of a group that is never joined."""

    group: str

    def poll(self, _seconds: float) -> None:
        """Call no callback."""
