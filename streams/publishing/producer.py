"""Publishes straight to Kafka, for senders without a transaction. Each publish waits for the acknowledgement."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message

from schemas import Event
from schemas.registry import RegistryUnavailableError
from streams.codec import Codec, EncodedEvent, SchemaMissingError, default_codec
from streams.observability.tracing import open_tracing
from streams.publishing.client import ProducerClient
from streams.publishing.delivery_reports import Progress, Report, ending, send_again
from streams.publishing.errors import BadEventError, PublishError
from streams.settings import Settings, load_settings
from streams.storage import StorageAwayError
from streams.topics import UnknownEventError
from streams.transport.kafka.client import is_fatal
from streams.transport.kafka.delivery_reports import NOT_STORED
from streams.transport.kafka.records import RecordMetadata

MAX_IN_FLIGHT = 50_000
"""How many unacknowledged events `publish_many` may have: half of the client's queue. Fewer would slow it down."""
POLL_EVERY = 100
"""How often, in events, `publish_many` polls for reports in its own thread. This is cheaper than in the poller's."""
POLL_SECONDS = 0.1
POLLER_PAUSE_SECONDS = 0.02
"""How long the poller stops for while another thread polls. Otherwise the two would wait for each other."""
DEFAULT_TIMEOUT = 30.0


class EventProducer:
    """Publishes events. It is thread-safe. Create one in each process, after a fork, and use it as a context manager.

    with EventProducer() as producer:
        producer.publish(DocumentDeleted(document_id="…", …))

    It is idempotent and uses `acks=all`: an acknowledged event is on all in-sync replicas, once and in order.
    """

    def __init__(
        self, settings: Settings | None = None, codec: Codec | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """Create the producer.

        Args:
            settings: The connection settings. None: from the environment.
            codec: The codec for the events. None: from the environment.
            timeout: Seconds to wait for an acknowledgement.

        Raises:
            SettingsError: A variable of OpenTelemetry has a wrong value.
        """
        self._settings = settings or load_settings()
        open_tracing(self._settings.application)
        self._codec = codec or default_codec()
        self._timeout = timeout
        self._process = os.getpid()
        self._closing = threading.Event()
        self._polled_until = 0.0
        self._client = ProducerClient(self._settings, timeout)
        self._poller = threading.Thread(target=self._poll, name="event-producer", daemon=True)
        self._poller.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, event: Event, *, expires_at: datetime | None = None) -> RecordMetadata:
        """Publish an event, wait for its acknowledgement, and return the record's position.

        To publish at a later time, use `Outbox`.

        Args:
            event: The event to publish.
            expires_at: No attempt to handle the event starts at or after this time. It must have a UTC offset.

        Raises:
            PublishError: The event was not acknowledged.
        """
        return self.send(event, expires_at=expires_at).result()

    def send(self, event: Event, *, expires_at: datetime | None = None) -> "Future[RecordMetadata]":
        """Encode and queue an event. Within the timeout, the future gets the record's position or PublishError.

        The value of a large event is in the storage when this returns: on an event loop, use AsyncEventProducer.
        Waits while the client's queue is full.

        Raises:
            BadEventError: The event cannot be encoded.
            PublishError: The producer is closed, or its queue stays full for the timeout.
        """
        future: Future[RecordMetadata] = Future()
        encoded = self.encode(event, expires_at)
        self._enqueue(encoded, self._report_to(encoded, future))
        if self._closing.is_set():  # in another thread, which may have read its last report before
            self._client.drain()
        return future

    def encode(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """Return the record of an event. Raises BadEventError, or PublishError if the registry does not answer."""
        try:
            return self._codec.encode(event, expires_at)
        except RegistryUnavailableError as error:  # not an error of the event
            raise PublishError(str(error)) from error
        except StorageAwayError as error:
            message = f"{type(event).__name__} {event.event_id} was not sent: {error}"
            raise PublishError(message) from error
        except Exception as error:  # fastavro raises many kinds for a value that does not match its schema
            message = f"{type(event).__name__} {event.event_id} cannot be encoded: {error}"
            raise BadEventError(message) from error

    def _report_to(self, encoded: EncodedEvent, future: "Future[RecordMetadata]") -> Report:
        """Return the callback that passes a record's delivery report to the future."""
        future.set_running_or_notify_cancel()  # now it cannot be cancelled, so it is still open when the report arrives

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                future.set_exception(PublishError(self.error_message(error, encoded.topic)))
            elif (offset := message.offset()) is None:
                self.send_again(encoded, message, report)
            else:
                future.set_result(RecordMetadata(encoded.topic, message.partition() or 0, offset))

        return report

    def publish_many(self, events: Iterable[Event], *, expires_at: datetime | None = None) -> int:
        """Publish all events, with many unacknowledged at once. Returns how many there were.

        Stops at the first failure, or when the iterable raises. It then waits for the outstanding reports.

        Raises:
            BadEventError: An event cannot be encoded. `acknowledged` counts the events that were sent.
            PublishError: An event was not acknowledged. `acknowledged` counts the events that were.
        """
        progress = Progress(expires_at)
        report = progress.report
        self._check_usable()
        try:
            for number, event in enumerate(events, start=1):
                encoded = self.encode(event, expires_at)
                if not self._produce(encoded, report):
                    self._enqueue(encoded, report)
                progress.sent = number
                if number % POLL_EVERY == 0:
                    self._check_usable()
                    self.poll_reports()
                    self._wait(progress, MAX_IN_FLIGHT)
                if progress.failure is not None:
                    break
        except PublishError as error:
            self._wait(progress, 1)
            raise type(error)(str(error), progress.acknowledged) from error
        finally:
            self._wait(progress, 1)
        if progress.failure is not None:
            raise PublishError(self.error_message(*progress.failure), progress.acknowledged)
        return progress.acknowledged

    def close(self) -> None:
        """Refuse new events, and wait up to the timeout for outstanding reports. Repeating this does nothing."""
        if self._closing.is_set() or self._process != os.getpid():
            return
        self._closing.set()
        self._poller.join()
        self._client.drain()

    def prepare(self, kind: type[Event]) -> None:
        """Load the schemas of an event class now, so that its first event need not wait for the registry.

        Raises PublishError if the registry does not answer. All other errors are raised by the first event.
        """
        try:
            self._codec.prepare(kind)
        except RegistryUnavailableError as error:
            raise PublishError(str(error)) from error
        except (SchemaMissingError, UnknownEventError):
            return

    def send_again(self, encoded: EncodedEvent, message: Message, report: Report) -> None:
        """Send a record again whose report has no offset."""
        send_again(self._client.current, encoded.headers, message, report)

    def try_enqueue(self, encoded: EncodedEvent, report: Report) -> bool:
        """Queue a record. Returns False if the client's queue is full. Raises PublishError if it cannot be sent."""
        self._check_usable()
        return self._produce(encoded, report)

    def _produce(self, encoded: EncodedEvent, report: Report) -> bool:
        on_delivery = report if encoded.span is None else ending(encoded.span, report)
        client = self._client.current
        try:
            client.produce(
                encoded.topic, encoded.value, encoded.key, headers=list(encoded.headers), on_delivery=on_delivery
            )
        except BufferError:
            return False
        except KafkaException as error:
            if is_fatal(error.args[0]) and self._client.replace(client):
                return self._produce(encoded, report)
            if encoded.span is not None:
                encoded.span.end(error_type=error.args[0].name())
            raise PublishError(self.error_message(error.args[0], encoded.topic)) from error
        return True

    def poll_reports(self) -> None:
        """Run the callbacks of arrived reports in this thread. The poller's thread stops for a moment meanwhile."""
        self._polled_until = time.monotonic() + POLLER_PAUSE_SECONDS
        self._client.poll(0)

    def timeout_check(self, encoded: EncodedEvent) -> Callable[[], None]:
        """Return a check to call while waiting for room. It raises PublishError after the timeout."""
        until = time.monotonic() + self._timeout

        def check() -> None:
            if time.monotonic() > until:
                if encoded.span is not None:
                    encoded.span.end(error_type=PublishError.__name__)
                servers = self._settings.kafka_bootstrap_servers
                message = f"{encoded.topic}: the queue to Kafka at {servers} stayed full for {self._timeout:g} s"
                raise PublishError(message)

        return check

    def _enqueue(self, encoded: EncodedEvent, report: Report) -> None:
        """Queue a record. While the queue is full, poll: reports make room, at the latest those of time-outs."""
        if self.try_enqueue(encoded, report):
            return
        check = self.timeout_check(encoded)
        while not self.try_enqueue(encoded, report):
            check()
            self._client.poll(POLL_SECONDS)

    def _wait(self, progress: Progress, below: int) -> None:
        """Poll until fewer than `below` records are in flight. Every report arrives within the timeout."""
        while progress.in_flight >= below:
            self._client.poll(POLL_SECONDS)
            while progress.not_stored:
                self._encode_again(progress.not_stored.popleft(), progress)

    def _encode_again(self, message: Message, progress: Progress) -> None:
        """Send a record of `publish_many` again. To keep the headers of all events would cost a fifth of its rate."""
        topic, value = message.topic() or "", message.value() or b""
        try:
            encoded = self._codec.encode(self._codec.decode(topic, value), progress.expires_at)
        except Exception:  # noqa: BLE001 - whatever it is, the event is not published
            progress.report(NOT_STORED, message)
        else:
            self.send_again(encoded, message, progress.report)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._client.poll_replaced()
            if self._polled_until > time.monotonic():
                self._closing.wait(POLLER_PAUSE_SECONDS)
            else:
                self._client.poll(POLL_SECONDS)

    def _check_usable(self) -> None:
        if self._process != os.getpid():
            message = "this EventProducer was created before a fork: create one in each process"
            raise PublishError(message)
        if self._closing.is_set():
            message = "this EventProducer is closed"
            raise PublishError(message)

    def error_message(self, error: KafkaError, topic: str) -> str:
        """Return one line that says why Kafka did not acknowledge an event."""
        return self._client.error_message(error, topic)
