"""Kafka's admin client with a time limit for each request and one line for each error."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata

from streams.settings import Settings
from streams.transport.kafka.client import (
    LastConnectionError,
    check_brokers,
    client_config,
    client_logger,
    reason,
    unreachable,
)
from streams.transport.kafka.errors import BrokersUnreachableError

K = TypeVar("K")
V = TypeVar("V")

NO_ANSWER = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's own codes are spelled with an underscore
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError.REQUEST_TIMED_OUT,
}
"""The codes of errors for which no broker may be the cause, or one of them."""
MOVING = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}
"""Temporary errors: a topic is new, or a leader or coordinator moves to another broker."""
RETRY_SECONDS = 0.1
"""The pause between two attempts."""
_GRACE_SECONDS = 2.0
"""How much longer than the request's time-out to wait. librdkafka enforces the time-out itself."""


class KafkaRefusedError(Exception):
    """Kafka rejected the request. The message is one line with the reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        """Kafka's error code."""


PartitionId = tuple[str, int]
"""Topic and partition."""
Offsets = dict[PartitionId, int | KafkaRefusedError]
"""The offset of each partition, or why it cannot be read."""


class KafkaAdmin:
    """An admin connection. Its methods raise no Kafka errors but BrokersUnreachableError and KafkaRefusedError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.timeout = settings.kafka_request_timeout
        """The time limit of each request in seconds."""
        # With a logger, librdkafka does not write its own lines to standard error.
        self._connection_error = LastConnectionError()
        self._config: dict[str, Any] = {**client_config(settings), "error_cb": self._connection_error}
        self.admin = AdminClient(self._config, logger=client_logger)

    def metadata(self) -> ClusterMetadata:
        """Return the current brokers, topics and partitions."""
        return check_brokers(self._settings)

    def refresh(self) -> None:
        """Let the admin client, if it is used again, learn which brokers run. Raises as `list_topics`.

        It asks the controller of its last metadata. If that broker is down, two of its threads wake each other until
        the request's time is up.
        """
        self.list_topics(self.admin)

    def list_topics(self, client: AdminClient | Consumer) -> ClusterMetadata:
        """Return the brokers, topics and partitions by a client, which knows the leaders from here on.

        Raises BrokersUnreachableError, KafkaRefusedError.
        """
        try:
            found: ClusterMetadata = client.list_topics(timeout=self.timeout)
        except KafkaException as error:
            client.poll(0)  # calls `error_cb`
            raise self.to_error(error, "list the topics") from error
        return found

    def answers(self, futures: Mapping[K, "Future[V]"], what: str) -> Iterator[tuple[K, V]]:
        """Yield the results of an admin call. `what` is its text for errors, such as "read the offsets of"."""
        for subject, future in futures.items():
            yield subject, self.answer(future, f"{what} {subject}")

    def answer(self, future: "Future[V]", what: str) -> V:
        """Return one result. `what` is the request's text for errors."""
        try:
            return future.result(self.timeout + _GRACE_SECONDS)
        except FutureTimeoutError as error:
            raise self._unreachable("no answer in time") from error
        except KafkaException as error:
            raise self.to_error(error, what) from error

    def committed(self, group: str, partitions: Sequence[PartitionId]) -> Offsets:
        """Return a group's committed offsets. Partitions without one are left out.

        It uses a consumer that joins no group. librdkafka's admin client crashes the process with a segmentation fault
        while the group's coordinator moves (librdkafka #5040).
        """
        consumer = self.offset_reader(group)
        try:
            return self.committed_by(consumer, group, partitions)
        finally:
            consumer.close()

    def offset_reader(self, group: str) -> Consumer:
        """Return a consumer that reads a group's committed offsets, or those of partitions, and never joins it."""
        own = {"group.id": group, "enable.auto.commit": False, "isolation.level": "read_uncommitted"}
        return Consumer({**self._config, **own}, logger=client_logger)

    def committed_by(self, consumer: Consumer, group: str, partitions: Sequence[PartitionId]) -> Offsets:
        """Return a group's committed offsets, as `committed` does, by a consumer that is used again.

        Args:
            consumer: The consumer of `offset_reader`.
            group: Its group.
            partitions: Topics and partitions.

        Raises:
            BrokersUnreachableError: No broker answers.
            KafkaRefusedError: Kafka rejected the request, or answers other requests only.
        """
        try:
            found = consumer.committed([TopicPartition(*partition) for partition in partitions], timeout=self.timeout)
        except KafkaException as error:
            if error_code(error) in NO_ANSWER:
                self.metadata()  # raises BrokersUnreachableError
                # Without the right, librdkafka asks for the group's coordinator until the time is up.
                message = (
                    f"the offsets of group {group} cannot be read: {reason(error)}; its coordinator does not "
                    "answer, or this account may not DESCRIBE the group (streams acls)"
                )
                raise KafkaRefusedError(message, error_code(error)) from error
            raise self.to_error(error, f"read the offsets of group {group}") from error
        finally:
            consumer.poll(0)  # calls `error_cb`, and writes the client's log lines
        offsets = {(one.topic, one.partition): offset_of(one) for one in found}
        return {place: one for place, one in offsets.items() if isinstance(one, KafkaRefusedError) or one >= 0}

    def to_error(self, error: KafkaException, what: str) -> BrokersUnreachableError | KafkaRefusedError:
        """Return the error for an exception of librdkafka. `what` is the request's text."""
        code = error_code(error)
        if code in NO_ANSWER:
            return self._unreachable(reason(error))
        return KafkaRefusedError(f"Kafka refused to {what}: {reason(error)}", code)

    def retry_while_moving(self, ask: Callable[[], V]) -> V:
        """Repeat a request while leaders or coordinators move, for at most the time of one request."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return ask()
            except KafkaRefusedError as error:
                if error.code not in MOVING or time.monotonic() > deadline:
                    raise
            time.sleep(RETRY_SECONDS)

    def _unreachable(self, why: str) -> BrokersUnreachableError:
        self.admin.poll(0)  # calls `error_cb`
        return unreachable(self._settings, f"{why}{self._connection_error}")


def partition_counts(metadata: ClusterMetadata) -> dict[str, int]:
    """Return the number of partitions of each topic that Kafka describes."""
    return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}


def cluster_size(metadata: ClusterMetadata) -> int:
    """Return the number of brokers, also of those that are down: the metadata lists them only as replicas."""
    replicas = (
        replica
        for topic in metadata.topics.values()
        for partition in topic.partitions.values()
        for replica in partition.replicas
    )
    return len({*metadata.brokers, *replicas})


def undescribed_topics(metadata: ClusterMetadata) -> dict[str, KafkaRefusedError]:
    """Return the topics that Kafka lists without describing them, and why. The client shows them without partitions."""
    return {
        name: KafkaRefusedError(f"Kafka does not describe {name}: {topic.error.str()}", topic.error.code())
        for name, topic in metadata.topics.items()
        if topic.error is not None
    }


def offset_of(answer: TopicPartition) -> int | KafkaRefusedError:
    """Return the offset of one partition of an answer, or why Kafka did not return it."""
    if answer.error is None:
        return answer.offset
    place = f"{answer.topic} [{answer.partition}]"
    return KafkaRefusedError(f"Kafka refused to read the offsets of {place}: {answer.error.str()}", answer.error.code())


def lag_group(settings: Settings) -> str:
    """Return the group of consumers that only look. librdkafka requires a name; nobody joins it."""
    return f"{settings.application}.lag"


def error_code(error: KafkaException) -> int:
    """Return Kafka's error code. librdkafka's own codes are negative."""
    first = error.args[0] if error.args else None
    return first.code() if isinstance(first, KafkaError) else int(KafkaError.UNKNOWN)
