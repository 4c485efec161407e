"""`EventProducer` for asyncio: the same client, awaited."""

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
from streams.publishing.producer import DEFAULT_TIMEOUT, EventProducer, PublishError, Report
from streams.settings import Settings
from streams.transport.kafka.records import RecordMetadata

FULL_SECONDS = 0.01
"""Seconds after which a coroutine looks again for room in the client's queue."""
LOOK_SECONDS = 0.001
"""Seconds between two looks for reports while some are waited for."""


class AsyncEventProducer:
    """`EventProducer` for asyncio: the same client, awaited.

    async with AsyncEventProducer() as producer:
        await producer.publish(event)
    """

    def __init__(
        self, settings: Settings | None = None, codec: Codec | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """As `EventProducer`."""
        self._producer = EventProducer(settings, codec, timeout=timeout)
        self._prepared: set[type[Event]] = set()
        self._answers: _Answers | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def publish(self, event: Event, *, expires_at: datetime | None = None) -> RecordMetadata:
        """As `EventProducer.publish`, awaited.

        Where the client's queue is full it waits for room, and other coroutines go on. Cancelling gives up the wait,
        not the event: it may still go out.
        """
        if type(event) not in self._prepared:
            await asyncio.to_thread(self._producer.prepare, type(event))
            self._prepared.add(type(event))
        encode = self._producer.encode
        large = may_be_large(event)
        encoded = await asyncio.to_thread(encode, event, expires_at) if large else encode(event, expires_at)
        answers = self._here()
        answer, report = answers.expect(encoded)
        if not self._producer.try_enqueue(encoded, report):
            check = self._producer.deadline(encoded)
            while not self._producer.try_enqueue(encoded, report):
                check()
                await asyncio.sleep(FULL_SECONDS)
        answers.sent()
        return await answer

    async def publish_many(self, events: Iterable[Event], *, expires_at: datetime | None = None) -> int:
        """As `EventProducer.publish_many`, in a thread: `events` is iterated there."""
        return await asyncio.to_thread(self._producer.publish_many, events, expires_at=expires_at)

    async def close(self) -> None:
        """As `EventProducer.close`."""
        await asyncio.to_thread(self._producer.close)

    def _here(self) -> "_Answers":
        loop = asyncio.get_running_loop()
        if self._answers is None or self._answers.loop is not loop:
            self._answers = _Answers(loop, self._producer)
        return self._answers


class _Answers:
    """Delivery reports for one loop, which takes them itself.

    In a thread of its own the client would ask for the interpreter at every report, and wait for it while coroutines
    run: up to 5 ms each time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, producer: EventProducer) -> None:
        self.loop = loop
        self._producer = producer
        self._told: deque[tuple[asyncio.Future[RecordMetadata], RecordMetadata | PublishError]] = deque()
        """In whichever thread the reports came: the producer's own takes those that the loop is late for."""
        self._under_way = 0
        self._looking = False

    def expect(self, encoded: EncodedEvent) -> tuple["asyncio.Future[RecordMetadata]", Report]:
        """What will hold where the record is, or PublishError; and what to call with its report, in any thread."""
        answer: asyncio.Future[RecordMetadata] = self.loop.create_future()
        topic = encoded.topic

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._told.append((answer, RecordMetadata(topic, message.partition() or 0, message.offset() or 0)))
            else:
                self._told.append((answer, PublishError(self._producer.explain(error, topic))))

        return answer, report

    def sent(self) -> None:
        """One more is under way: its report will come."""
        self._under_way += 1
        if not self._looking:
            self._looking = True
            self.loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._producer.take_reports()
        while self._told:
            answer, told = self._told.popleft()
            self._under_way -= 1
            if answer.done():
                continue
            if isinstance(told, PublishError):
                answer.set_exception(told)
            else:
                answer.set_result(told)
        self._looking = self._under_way > 0
        if self._looking:
            self.loop.call_later(LOOK_SECONDS, self._look)
