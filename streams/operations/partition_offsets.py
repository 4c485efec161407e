"""Reads the first and the next offset of many partitions, with one request to each leader."""

import time
from collections.abc import Collection

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, TopicPartition
from confluent_kafka.admin import ClusterMetadata

from streams.operations.kafka_admin import MOVING, NO_ANSWER, RETRY_SECONDS, KafkaAdmin, KafkaRefusedError, error_code
from streams.transport.kafka.client import reason

PartitionId = tuple[str, int]
"""Topic and partition."""
Offsets = dict[PartitionId, int | KafkaRefusedError]
"""The offset of each partition, or why it cannot be read."""


class PartitionOffsets:
    """A connection to Kafka for reading offsets again and again. Used by one thread.

    It is a consumer that joins no group. librdkafka's admin client can read offsets too, but while the leader of one
    partition does not answer, two of its threads wake each other until the request's time is up: 40,000 to 180,000
    times a second (measured with librdkafka 2.16). It keeps the leaders of that moment, too.
    """

    def __init__(self, cluster: KafkaAdmin, name: str) -> None:
        """Create the client without waiting for a broker. `name` is the group that it never joins."""
        self._cluster = cluster
        self._consumer = cluster.offset_reader(name)

    def metadata(self) -> ClusterMetadata:
        """Return the brokers, topics and partitions. The client knows the leaders from here on.

        Raises BrokersUnreachableError, KafkaRefusedError.
        """
        return self._cluster.list_topics(self._consumer)

    def first(self, partitions: Collection[PartitionId]) -> Offsets:
        """Return the first offset in each partition. Raises BrokersUnreachableError, KafkaRefusedError.

        Asks again while leaders move, for at most the time of one request.
        """
        return self._read(partitions, OFFSET_BEGINNING)

    def next(self, partitions: Collection[PartitionId]) -> Offsets:
        """Return the offset that the next record of each partition will get. Otherwise as `first`."""
        return self._read(partitions, OFFSET_END)

    def poll(self) -> None:
        """Let librdkafka write its log lines and report its last error: it keeps them in memory until then."""
        self._consumer.poll(0)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _read(self, partitions: Collection[PartitionId], which: int) -> Offsets:
        deadline = time.monotonic() + self._cluster.timeout
        found = self._ask(partitions, which)
        while any(_moves(offset) for offset in found.values()) and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
            self.metadata()
            found = self._ask(partitions, which)
        answered = any(not isinstance(offset, KafkaRefusedError) or _moves(offset) for offset in found.values())
        if answered or len(found) <= 1:
            return found
        # The client returns no offset at all if a broker refuses one partition. Find out which one it is.
        halves = list(partitions)[::2], list(partitions)[1::2]
        return {place: offset for half in halves for place, offset in self._read(half, which).items()}

    def _ask(self, partitions: Collection[PartitionId], which: int) -> Offsets:
        """Ask for the offsets "by time": the protocol's ListOffsets takes the two constants in place of a time."""
        if not partitions:
            return {}
        wanted = [TopicPartition(*partition, which) for partition in partitions]
        try:
            answers = self._consumer.offsets_for_times(wanted, timeout=self._cluster.timeout)
        except KafkaException as error:
            code = error_code(error)
            if code not in NO_ANSWER:
                refusal = KafkaRefusedError(f"Kafka refused to read the offsets of partitions: {reason(error)}", code)
                return dict.fromkeys(partitions, refusal)
            self.metadata()  # raises BrokersUnreachableError if no broker answers
            message = f"the offsets of partitions cannot be read: the leader of some does not answer: {reason(error)}"
            raise KafkaRefusedError(message, code) from error
        return {(one.topic, one.partition): _offset(one) for one in answers}


def _offset(answer: TopicPartition) -> int | KafkaRefusedError:
    if answer.error is None:
        return answer.offset
    return KafkaRefusedError(
        f"Kafka refused to read the offsets of {answer.topic} [{answer.partition}]: {answer.error.str()}",
        answer.error.code(),
    )


def _moves(offset: int | KafkaRefusedError) -> bool:
    return isinstance(offset, KafkaRefusedError) and offset.code in MOVING
