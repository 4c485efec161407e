"""Publish straight to Kafka: for senders without a transaction. Each publish awaits the broker's acknowledgement."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import Event
from schemas.registry import RegistryUnavailableError
from streams.codec import Codec, EncodedEvent, SchemaMissingError, default_codec
from streams.settings import Settings, load_settings
from streams.storage import StorageAwayError
from streams.topics import UnknownEventError
from streams.transport.kafka.client import client_logger, producer_config
from streams.transport.kafka.records import RecordMetadata

WINDOW = 50_000
"""Events that `publish_many` has under way at once, half of the client's queue: fewer would wait for a slow broker."""
POLL_EVERY = 100
"""Events after which `publish_many` takes reports in its own thread, which is cheaper than the poller doing it."""
POLL_SECONDS = 0.1
LEFT_ALONE = 0.02
"""Seconds for which the poller leaves a client alone that another thread polls: they would only wait for each other."""
DEFAULT_TIMEOUT = 30.0
UNREACHABLE = frozenset({"_MSG_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN"})
NO_TOPIC = frozenset({"_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART"})
TOO_LARGE = "MSG_SIZE_TOO_LARGE"

Report = Callable[[KafkaError | None, Message], None]


class PublishError(Exception):
    """An event was not acknowledged; the message is one line. `acknowledged`: how many of `publish_many` were."""

    __module__ = "streams.publishing"

    def __init__(self, message: str, acknowledged: int = 0) -> None:
        super().__init__(message)
        self.acknowledged = acknowledged


class BadEventError(PublishError):
    """An event that cannot be encoded; it was not sent."""

    __module__ = "streams.publishing"


class EventProducer:
    """Publishes events, thread-safe; make one in each process (after a fork) and use it as a context manager.

    with EventProducer() as producer:
        producer.publish(DocumentDeleted(document_id="…", …))

    Idempotent and with `acks=all`: what it returned for is on all in-sync replicas, once and in order.
    """

    def __init__(
        self, settings: Settings | None = None, codec: Codec | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """`settings`, `codec`: None takes the environment's. `timeout`: seconds for an acknowledgement."""
        self._settings = settings or load_settings()
        self._codec = codec or default_codec()
        self._timeout = timeout
        self._process = os.getpid()
        self._closing = threading.Event()
        self._polled_until = 0.0
        self._client = Producer(producer_config(self._settings, timeout), logger=client_logger)
        self._poller = threading.Thread(target=self._poll, name="event-producer", daemon=True)
        self._poller.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, event: Event, *, expires_at: datetime | None = None) -> RecordMetadata:
        """Publish and wait for the acknowledgement; returns where the record is. Raises PublishError.

        From `expires_at` (with its offset) on no attempt begins. For an event that is to go out later: `Outbox`.
        """
        return self.send(event, expires_at=expires_at).result()

    def send(self, event: Event, *, expires_at: datetime | None = None) -> "Future[RecordMetadata]":
        """Encode and enqueue; the future holds where the record is, or PublishError, within the timeout.

        Of a large event the value is in the storage when this returns: an event loop takes AsyncEventProducer. Waits
        while the client's queue is full. Raises BadEventError where the event cannot be encoded, PublishError where
        nothing can be sent any more, or no room comes within the timeout.
        """
        future: Future[RecordMetadata] = Future()
        encoded = self.encode(event, expires_at)
        self._enqueue(encoded, self._reporting(encoded, future))
        return future

    def encode(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """The record of an event. Raises BadEventError; PublishError where the registry does not answer."""
        try:
            return self._codec.encode(event, expires_at)
        except RegistryUnavailableError as error:  # no fault of the event's
            raise PublishError(str(error)) from error
        except StorageAwayError as error:
            message = f"{type(event).__name__} {event.event_id} was not sent: {error}"
            raise PublishError(message) from error
        except Exception as error:  # fastavro raises many kinds for a value that its schema refuses
            message = f"{type(event).__name__} {event.event_id} cannot be encoded: {error}"
            raise BadEventError(message) from error

    def _reporting(self, encoded: EncodedEvent, future: "Future[RecordMetadata]") -> Report:
        """What to call with a record's delivery report to settle the future."""
        future.set_running_or_notify_cancel()  # from here on it cannot be cancelled, so a report always finds it open

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                future.set_result(RecordMetadata(encoded.topic, message.partition() or 0, message.offset() or 0))
            else:
                future.set_exception(PublishError(self.explain(error, encoded.topic)))

        return report

    def publish_many(self, events: Iterable[Event], *, expires_at: datetime | None = None) -> int:
        """Publish all, many under way at once; returns how many were acknowledged: all of them.

        Stops at the first that fails, waits for those under way, then raises PublishError (BadEventError where it
        could not be encoded) with `acknowledged`. After an error of the iterable itself it waits likewise.
        """
        tally = _Tally()
        report = tally.report
        self._check_usable()
        try:
            for number, event in enumerate(events, start=1):
                encoded = self.encode(event, expires_at)
                if not self._produce(encoded, report):
                    self._enqueue(encoded, report)
                tally.sent = number
                if number % POLL_EVERY == 0:
                    self._check_usable()
                    self.take_reports()
                    self._wait(tally, WINDOW)
                if tally.failure is not None:
                    break
        except PublishError as error:
            self._wait(tally, 1)
            raise type(error)(str(error), tally.acknowledged) from error
        finally:
            self._wait(tally, 1)
        if tally.failure is not None:
            raise PublishError(self.explain(*tally.failure), tally.acknowledged)
        return tally.acknowledged

    def close(self) -> None:
        """Wait for what is under way, at most the timeout, and let the connection go; safe to repeat."""
        if self._closing.is_set() or self._process != os.getpid():
            return
        if self._client.flush(self._timeout):
            self._client.purge()
            self._client.flush(1.0)
        self._closing.set()
        self._poller.join()

    def prepare(self, kind: type[Event]) -> None:
        """Learn what publishing a class needs: with a registry over HTTP its first event would wait for that.

        Raises PublishError where the registry does not answer; what else is wrong an event of the class will tell.
        """
        try:
            self._codec.prepare(kind)
        except RegistryUnavailableError as error:
            raise PublishError(str(error)) from error
        except (SchemaMissingError, UnknownEventError):
            return

    def try_enqueue(self, encoded: EncodedEvent, report: Report) -> bool:
        """Queue a record; False where the client's queue is full. Raises PublishError where it cannot be sent."""
        self._check_usable()
        return self._produce(encoded, report)

    def _produce(self, encoded: EncodedEvent, report: Report) -> bool:
        try:
            self._client.produce(
                encoded.topic, encoded.value, encoded.key, headers=list(encoded.headers), on_delivery=report
            )
        except BufferError:
            return False
        except KafkaException as error:
            raise PublishError(self.explain(error.args[0], encoded.topic)) from error
        return True

    def take_reports(self) -> None:
        """Call the reports that have come, in this thread; for a while the producer's own leaves them to it."""
        self._polled_until = time.monotonic() + LEFT_ALONE
        self._client.poll(0)

    def deadline(self, encoded: EncodedEvent) -> Callable[[], None]:
        """What to call while a record waits for room: it raises PublishError once the timeout is over."""
        until = time.monotonic() + self._timeout

        def check() -> None:
            if time.monotonic() > until:
                servers = self._settings.kafka_bootstrap_servers
                message = f"{encoded.topic}: no room came in the queue to Kafka at {servers} within {self._timeout:g} s"
                raise PublishError(message)

        return check

    def _enqueue(self, encoded: EncodedEvent, report: Report) -> None:
        """Queue a record; while the queue is full, wait for room, which comes with reports, if only of time-outs."""
        if self.try_enqueue(encoded, report):
            return
        check = self.deadline(encoded)
        while not self.try_enqueue(encoded, report):
            check()
            self._client.poll(POLL_SECONDS)

    def _wait(self, tally: "_Tally", below: int) -> None:
        """Take reports until fewer than so many are under way; every report comes within the timeout."""
        while tally.under_way >= below:
            self._client.poll(POLL_SECONDS)

    def _poll(self) -> None:
        while not self._closing.is_set():
            if self._polled_until > time.monotonic():
                self._closing.wait(LEFT_ALONE)
            else:
                self._client.poll(POLL_SECONDS)

    def _check_usable(self) -> None:
        if self._process != os.getpid():
            message = "this EventProducer was made before a fork and has no threads here: make one in each process"
            raise PublishError(message)
        if self._closing.is_set():
            message = "this EventProducer is closed"
            raise PublishError(message)

    def explain(self, error: KafkaError, topic: str) -> str:
        """Why Kafka did not take an event, in one line."""
        servers = self._settings.kafka_bootstrap_servers
        if error.name() in UNREACHABLE:
            return f"{topic}: no acknowledgement from Kafka at {servers} within {self._timeout:g} s"
        if error.name() in NO_TOPIC:
            return f"there is no topic {topic} on Kafka at {servers}: run `streams topics apply`"
        if error.name() == TOO_LARGE:
            return f"{topic}: the event is larger than Kafka takes"
        return f"{topic}: {error.str()}"


class _Tally:
    """What became of the events of one `publish_many`. Reports come in whichever thread polls, also in two at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = 0
        self.acknowledged = 0
        self.failed = 0
        self.failure: tuple[KafkaError, str] | None = None
        """The first one, and its topic."""

    @property
    def under_way(self) -> int:
        return self.sent - self.acknowledged - self.failed

    def report(self, error: KafkaError | None, message: Message) -> None:
        with self._lock:
            if error is None:
                self.acknowledged += 1
                return
            self.failed += 1
            self.failure = self.failure or (error, message.topic() or "")
