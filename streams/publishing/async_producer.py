"""`EventProducer` for asyncio: the same client, with methods to await."""

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, Message

from schemas import Event
from streams.codec import Codec, EncodedEvent
from streams.codec.claim_check import may_be_large
from streams.publishing.delivery_reports import Report
from streams.publishing.errors import PublishError
from streams.publishing.producer import DEFAULT_TIMEOUT, EventProducer
from streams.settings import Settings
from streams.transport.kafka.records import RecordMetadata

QUEUE_FULL_SECONDS = 0.01
"""How long a coroutine waits before it tries a full client queue again."""
POLL_SECONDS = 0.001
"""How often the loop polls for delivery reports while some are outstanding."""


class AsyncEventProducer:
    """`EventProducer` for asyncio: the same client, with methods to await.

    async with AsyncEventProducer() as producer:
        await producer.publish(event)
    """

    def __init__(
        self, settings: Settings | None = None, codec: Codec | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """Create the producer.

        Args:
            settings: The connection settings. None: from the environment.
            codec: The codec for the events. None: from the environment.
            timeout: Seconds to wait for an acknowledgement.
        """
        self._producer = EventProducer(settings, codec, timeout=timeout)
        self._prepared: set[type[Event]] = set()
        self._reports: _DeliveryReports | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def publish(self, event: Event, *, expires_at: datetime | None = None) -> RecordMetadata:
        """Publish an event and await its acknowledgement, as `EventProducer.publish` does.

        While the client's queue is full, it waits without blocking the event loop. Cancelling stops the wait only:
        the event may still be sent.
        """
        if type(event) not in self._prepared:
            await asyncio.to_thread(self._producer.prepare, type(event))
            self._prepared.add(type(event))
        encode = self._producer.encode
        large = may_be_large(event)
        encoded = await asyncio.to_thread(encode, event, expires_at) if large else encode(event, expires_at)
        reports = self._reports_for_loop()
        future, report = reports.expect(encoded)
        if not self._producer.try_enqueue(encoded, report):
            check = self._producer.timeout_check(encoded)
            while not self._producer.try_enqueue(encoded, report):
                check()
                await asyncio.sleep(QUEUE_FULL_SECONDS)
        reports.add_sent()
        return await future

    async def publish_many(self, events: Iterable[Event], *, expires_at: datetime | None = None) -> int:
        """Publish all events in a thread, as `EventProducer.publish_many` does. `events` is iterated there."""
        return await asyncio.to_thread(self._producer.publish_many, events, expires_at=expires_at)

    async def close(self) -> None:
        """Close the producer, as `EventProducer.close` does."""
        await asyncio.to_thread(self._producer.close)

    def _reports_for_loop(self) -> "_DeliveryReports":
        loop = asyncio.get_running_loop()
        if self._reports is None or self._reports.loop is not loop:
            self._reports = _DeliveryReports(loop, self._producer)
        return self._reports


class _DeliveryReports:
    """The delivery reports for one event loop, which polls for them itself.

    If a thread polled, the client would have to acquire the interpreter lock for every report. While coroutines run,
    that takes up to 5 ms each time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, producer: EventProducer) -> None:
        self.loop = loop
        self._producer = producer
        self._received: deque[tuple[asyncio.Future[RecordMetadata], RecordMetadata | PublishError]] = deque()
        """Filled by any thread: the producer's own thread takes the reports that the loop is late for."""
        self._in_flight = 0
        self._polling = False

    def expect(self, encoded: EncodedEvent) -> tuple["asyncio.Future[RecordMetadata]", Report]:
        """Return the future of a record's outcome, and the callback for its report. Any thread may call it."""
        future: asyncio.Future[RecordMetadata] = self.loop.create_future()
        topic = encoded.topic

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._received.append((future, PublishError(self._producer.error_message(error, topic))))
            elif (offset := message.offset()) is None:
                self._producer.send_again(encoded, message, report)
            else:
                self._received.append((future, RecordMetadata(topic, message.partition() or 0, offset)))

        return future, report

    def add_sent(self) -> None:
        """Count one more record whose report is outstanding."""
        self._in_flight += 1
        if not self._polling:
            self._polling = True
            self.loop.call_later(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        self._producer.poll_reports()
        while self._received:
            future, outcome = self._received.popleft()
            self._in_flight -= 1
            if future.done():
                continue
            if isinstance(outcome, PublishError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._polling = self._in_flight > 0
        if self._polling:
            self.loop.call_later(POLL_SECONDS, self._poll)
