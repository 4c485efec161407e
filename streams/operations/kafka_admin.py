"""Kafka's answers about itself: one admin connection, every request bounded, every refusal one line."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata

from streams.settings import Settings
from streams.transport.kafka.client import check_brokers, client_config, client_logger, reason
from streams.transport.kafka.errors import BrokersUnreachableError

K = TypeVar("K")
V = TypeVar("V")

_NO_ANSWER = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's own codes are spelled with an underscore
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError.REQUEST_TIMED_OUT,
}
_MOVING = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
"""Refusals that pass: a new topic, or a leader or coordinator that moves to another broker."""
_MOVING_PAUSE = 0.1
"""Seconds between two tries."""
_FUTURE_GRACE = 2.0
"""Seconds that an answer may be late beyond the request's own time-out, which librdkafka watches."""


class KafkaRefusedError(Exception):
    """Kafka answered, and refused; the message is one line that says what."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        """Kafka's number of the error."""


class KafkaAdmin:
    """An admin connection. Its methods raise BrokersUnreachableError or KafkaRefusedError, no other Kafka error."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.timeout = settings.kafka_request_timeout
        """Seconds that each request may take."""
        # The logger keeps librdkafka from writing its own lines beside ours to standard error.
        self.admin = AdminClient(client_config(settings), logger=client_logger)

    def metadata(self) -> ClusterMetadata:
        """Brokers, topics and their partitions as they are now."""
        return check_brokers(self._settings)

    def answers(self, futures: Mapping[K, "Future[V]"], what: str) -> Iterator[tuple[K, V]]:
        """The results of an admin call. `what` says in an error what was asked for: "read the offsets of"."""
        for subject, future in futures.items():
            yield subject, self.answer(future, f"{what} {subject}")

    def answer(self, future: "Future[V]", what: str) -> V:
        """One result; `what` says in an error what was asked for."""
        try:
            return future.result(self.timeout + _FUTURE_GRACE)
        except FutureTimeoutError as error:
            raise self._unreachable("no answer in time") from error
        except KafkaException as error:
            raise self.told(error, what) from error

    def committed(self, group: str, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offsets that a group has committed, by topic and partition; places without one are left out.

        Asked by a consumer that joins nothing: librdkafka's admin client ends the whole process by a segmentation
        fault where the group's coordinator is on the move (librdkafka #5040).
        """
        config = {**client_config(self._settings), "group.id": group, "enable.auto.commit": False}
        consumer = Consumer(config, logger=client_logger)
        try:
            found = consumer.committed([TopicPartition(*place) for place in places], timeout=self.timeout)
        except KafkaException as error:
            raise self.told(error, f"read the offsets of group {group}") from error
        finally:
            consumer.close()
        return {(one.topic, one.partition): one.offset for one in found if one.error is None and one.offset >= 0}

    def told(self, error: KafkaException, what: str) -> BrokersUnreachableError | KafkaRefusedError:
        """What librdkafka raised, as one line; `what` says what was asked for."""
        code = error_code(error)
        if code in _NO_ANSWER:
            return self._unreachable(reason(error))
        return KafkaRefusedError(f"Kafka refused to {what}: {reason(error)}", code)

    def until_answered(self, ask: Callable[[], V]) -> V:
        """Ask again, for as long as one request may take, while leaders or coordinators are on the move."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return ask()
            except KafkaRefusedError as error:
                if error.code not in _MOVING or time.monotonic() > deadline:
                    raise
            time.sleep(_MOVING_PAUSE)

    def _unreachable(self, why: str) -> BrokersUnreachableError:
        message = (
            f"no Kafka broker answers at {self._settings.kafka_bootstrap_servers} "
            f"(STREAMS_KAFKA_BOOTSTRAP_SERVERS): {why}"
        )
        return BrokersUnreachableError(message)


def error_code(error: KafkaException) -> int:
    """Kafka's number of an error, negative for librdkafka's own."""
    first = error.args[0] if error.args else None
    return first.code() if isinstance(first, KafkaError) else int(KafkaError.UNKNOWN)
