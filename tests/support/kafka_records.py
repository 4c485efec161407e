"""Reads the records of a topic, and makes the parts of a client's answers."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import BrokerMetadata, ClusterMetadata, PartitionMetadata, TopicMetadata

from streams.operations.dead_letters.records import watermarks
from streams.settings import Settings
from streams.transport.kafka.client import client_config
from tests.support.processes.worker_process import PATIENCE


@dataclass
class Answer:
    """A partition of an answer. The client's own class lets nobody set `error`."""

    topic: str
    partition: int
    offset: int
    error: KafkaError | None = None


def described(name: str, leaders: Iterable[int], code: int | None = None) -> TopicMetadata:
    """Return a topic as the client describes it: by the leader of each partition, -1 for none, or by its error."""
    topic = TopicMetadata()
    topic.topic = name
    topic.error = None if code is None else KafkaError(code)
    for number, leader in enumerate(leaders):
        partition = PartitionMetadata()
        partition.id, partition.leader = number, leader
        topic.partitions[number] = partition
    return topic


def cluster_of(topics: Iterable[TopicMetadata], brokers: int = 1) -> ClusterMetadata:
    """Return the metadata of topics and brokers."""
    cluster = ClusterMetadata()
    cluster.topics = {str(topic.topic): topic for topic in topics}
    cluster.brokers = {number: BrokerMetadata() for number in range(1, brokers + 1)}
    return cluster


def read_all(settings: Settings, topic: str, count: int) -> list[Message]:
    """Return the first `count` records of a topic, ordered by partition and offset. Fails if they do not arrive."""
    consumer = Consumer(
        {**client_config(settings), "group.id": "reader", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found: list[Message] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} records came on {topic}"
            found += [message for message in consumer.consume(500, 0.1) if message.error() is None]
    finally:
        consumer.close()
    return sorted(found, key=lambda message: (message.partition() or 0, message.offset() or 0))


def end_offsets(settings: Settings, topic: str) -> int:
    """Return the sum of the end offsets of all partitions."""
    consumer = Consumer({**client_config(settings), "group.id": "reader"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(watermarks(consumer, TopicPartition(topic, partition), PATIENCE)[1] for partition in partitions)
    finally:
        consumer.close()


class UnreadableHeaders:
    """Headers that fail as the client does for a name that is no UTF-8."""

    def __init__(self) -> None:
        self.calls = 0

    def headers(self) -> None:
        """Count the call, and fail."""
        self.calls += 1
        raise SystemError("returned a result with an exception set") from UnicodeDecodeError(
            "utf-8", b"h\xff", 1, 2, ""
        )
