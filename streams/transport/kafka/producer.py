"""Produce from asyncio and await the brokers' word. No Faust."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.headers import Headers
from streams.settings import Settings
from streams.transport.kafka.client import client_logger, is_fatal, producer_config, reason
from streams.transport.kafka.errors import TransportError
from streams.transport.kafka.records import NewRecord, ProduceError, RecordMetadata
from streams.transport.kafka.thread_bridge import ThreadBridge

__all__ = ["NewRecord", "ProduceError", "RecordMetadata", "RecordProducer"]

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
QUEUE_FULL_SECONDS = 0.01
YIELD_EVERY = 250
"""Records of a batch that are queued in one go: 2 to 3 ms of the loop's time."""
FLUSH_STEP_SECONDS = 0.01
FLUSH_SECONDS = 3.0
"""How long a stop waits for records under way; whoever awaits them gets ProduceError then."""

_REFUSALS = {
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the client's name for its own error
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
    KafkaError._INVALID_ARG,  # noqa: SLF001 - as above
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
}
"""What the brokers will say again to the same record; any other failure may pass."""

_Report = tuple["asyncio.Future[RecordMetadata]", KafkaError | None, Message]
Outcomes = Sequence[ProduceError | None]
"""What became of the records of a batch, in their order; None: acknowledged."""


class RecordProducer:
    """One idempotent producer (`acks=all`) for all coroutines of an event loop.

    A record is acknowledged or refused within `delivery_timeout` seconds, so nothing has to be cancelled: a record
    whose await was cancelled may still be written.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        delivery_timeout: float = 60.0,
        died: Callable[[TransportError], None] | None = None,
    ) -> None:
        """`died` is called on the loop if librdkafka gives the producer up for good; None: it is only logged."""
        self._settings = settings
        self._delivery_timeout = delivery_timeout
        self._died = died
        self._client: Producer | None = None
        self._ended = asyncio.Event()
        self._stopping = threading.Event()
        self._reports: list[_Report] = []
        self._complete: list[_Batch] = []
        self._fatal: KafkaError | None = None

    async def start(self) -> None:
        """Connect in the background; brokers that are away show when something is produced. Raises TransportError."""
        if self._client is not None:
            return
        self._ended.clear()
        self._stopping.clear()
        config = {**producer_config(self._settings, self._delivery_timeout), "error_cb": self._on_error}
        try:
            self._client = Producer(config, logger=client_logger)
        except KafkaException as error:
            message = f"librdkafka refuses the producer's settings: {reason(error)}"
            raise TransportError(message) from error
        bridge = ThreadBridge(asyncio.get_running_loop(), self._fail)
        threading.Thread(target=self._run, args=(self._client, bridge), name="kafka-producer", daemon=True).start()

    async def stop(self) -> None:
        """Wait for records under way, at most FLUSH_SECONDS, then let go."""
        if self._client is None:
            return
        await self.flush()
        self._stopping.set()
        try:
            await asyncio.wait_for(self._ended.wait(), FLUSH_SECONDS)
        except TimeoutError:
            logger.warning("the producer's thread did not end in time")
        self._client = None

    async def flush(self, bound: float = FLUSH_SECONDS) -> int:
        """Wait until nothing is under way, at most `bound` seconds; returns how many records still are."""
        client = self._client
        if client is None:
            return 0
        deadline = time.monotonic() + bound
        while len(client) and time.monotonic() < deadline:  # noqa: ASYNC110 - librdkafka's queue has no event
            await asyncio.sleep(FLUSH_STEP_SECONDS)
        under_way = len(client)
        if under_way:
            logger.warning("records were not acknowledged in time", extra={"records": under_way, "seconds": bound})
        return under_way

    async def produce(  # noqa: PLR0913 - the fields of a record
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> RecordMetadata:
        """Produce one record and await its acknowledgement; `timestamp` in ms, None: now.

        Waits while librdkafka's queue is full. Raises ProduceError.
        """
        future = await self.send(topic, key=key, value=value, headers=headers, partition=partition, timestamp=timestamp)
        return await future

    async def send(  # noqa: PLR0913 - as `produce`
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> "asyncio.Future[RecordMetadata]":
        """As `produce`, but returns once the record is queued, with a future of its acknowledgement."""
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        await self._queue(NewRecord(topic, key, value, headers), partial(self._report, future), partition, timestamp)
        return future

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Outcomes]":
        """Queue records in their order; returns once all are, with a future of what became of each.

        One future for all: a future a record costs more than the record. Waits while librdkafka's queue is full; if
        that lasts too long, those behind are not queued either, or they would overtake.
        """
        batch = _Batch()
        stuck: ProduceError | None = None
        for number, record in enumerate(records):
            batch.add()
            try:
                if stuck is not None:
                    raise stuck
                await self._queue(record, partial(self._batch_report, batch, number))
            except ProduceError as refusal:
                batch.refuse(number, refusal)
                stuck = refusal if refusal.retriable else None
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
        if batch.queued():
            batch.resolve()
        return batch.future

    async def _queue(
        self,
        record: NewRecord,
        report: Callable[[KafkaError | None, Message], None],
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        client = self._client
        if client is None:
            message = "the producer is not started"
            raise ProduceError(message, retriable=True)
        deadline: float | None = None
        while True:
            try:
                client.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=-1 if partition is None else partition,
                    headers=list(record.headers),
                    timestamp=timestamp or 0,
                    on_delivery=report,
                )
            except BufferError as error:
                deadline = deadline or time.monotonic() + self._delivery_timeout
                if time.monotonic() > deadline:
                    message = f"{record.topic}: the producer's queue stayed full for {self._delivery_timeout:g} s"
                    raise ProduceError(message, retriable=True) from error
                await asyncio.sleep(QUEUE_FULL_SECONDS)
            except KafkaException as error:
                raise _refusal(record.topic, error.args[0]) from error
            else:
                return

    def _fail(self, error: BaseException) -> None:
        """Nothing can be produced any more; on the loop."""
        self._client = None
        line = f"the producer cannot go on: {error}"
        if self._died is None:
            logger.critical(line)
        else:
            self._died(TransportError(line))

    # In the thread

    def _run(self, client: Producer, bridge: ThreadBridge) -> None:
        try:
            self._poll(client, bridge)
        except BaseException as error:  # noqa: BLE001 - whatever ends the thread must be seen, or produce waits for ever
            bridge.post(self._fail, error)
        bridge.post(self._ended.set)

    def _poll(self, client: Producer, bridge: ThreadBridge) -> None:
        while not self._stopping.is_set() and self._fatal is None:
            client.poll(POLL_SECONDS)
            self._hand_over_reports(bridge)
        client.purge()
        client.poll(0)
        self._hand_over_reports(bridge)
        if self._fatal is not None:
            line = f"{self._fatal.str()} ({self._fatal.name()})"
            raise TransportError(line)

    def _report(self, future: "asyncio.Future[RecordMetadata]", error: KafkaError | None, message: Message) -> None:
        self._reports.append((future, error, message))

    def _batch_report(self, batch: "_Batch", number: int, error: KafkaError | None, message: Message) -> None:
        if batch.report(number, error, message):
            self._complete.append(batch)

    def _hand_over_reports(self, bridge: ThreadBridge) -> None:
        while self._complete:
            bridge.post(self._complete.pop().resolve)
        if self._reports:
            reports, self._reports = self._reports, []
            bridge.post(_resolve, reports)

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._fatal = error
        else:
            logger.warning("Kafka: %s", error.str(), extra={"error": error.name()})


class _Batch:
    """Records queued together. The thread reports; the loop refuses, says when all are queued, and resolves."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        self._outcomes: list[ProduceError | None] = []
        self._refused = 0
        self._reported = 0
        self._expected: int | None = None
        """Reports that will come; None: not all records are queued yet."""

    def add(self) -> None:
        """One more, which is about to be queued."""
        self._outcomes.append(None)

    def refuse(self, number: int, refusal: ProduceError) -> None:
        """A record could not be queued."""
        self._outcomes[number] = refusal
        self._refused += 1

    def queued(self) -> bool:
        """All others are; true where all reports came already. That the thread sees the same at once does no harm."""
        self._expected = len(self._outcomes) - self._refused
        return self._reported == self._expected

    def report(self, number: int, error: KafkaError | None, message: Message) -> bool:
        """The brokers' word on a record; true where it is the last."""
        if error is not None:
            self._outcomes[number] = _refusal(message.topic() or "", error)
        self._reported += 1
        return self._reported == self._expected

    def resolve(self) -> None:
        """On the loop: tell whoever waits."""
        if not self.future.done():
            self.future.set_result(self._outcomes)


def _resolve(reports: list[_Report]) -> None:
    for future, error, message in reports:
        topic = message.topic() or ""
        if future.done():
            continue
        if error is not None:
            future.set_exception(_refusal(topic, error))
        else:
            future.set_result(RecordMetadata(topic, message.partition() or 0, message.offset() or 0))


def _refusal(topic: str, error: KafkaError) -> ProduceError:
    return ProduceError(f"{topic}: {error.str()} ({error.name()})", retriable=error.code() not in _REFUSALS)
