"""Produces records from asyncio and awaits their acknowledgement by the brokers. Knows no Faust."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.headers import Headers
from streams.settings import Settings
from streams.transport.kafka.client import client_logger, poll_reports, producer_config, reason
from streams.transport.kafka.delivery_reports import (
    DeliveryReport,
    Outcomes,
    ProduceBatch,
    produce_error,
    resolve_reports,
)
from streams.transport.kafka.errors import TransportError
from streams.transport.kafka.records import NewRecord, ProduceError, RecordMetadata
from streams.transport.kafka.thread_bridge import ThreadBridge

__all__ = ["NewRecord", "ProduceError", "RecordMetadata", "RecordProducer"]

logger = logging.getLogger(__name__)

LARGEST_COPY = 128 * 1024 * 1024
"""The maximum size in bytes of a record before it is compressed."""
POLL_SECONDS = 0.05
QUEUE_FULL_SECONDS = 0.01
YIELD_EVERY = 250
"""How many records of a batch are queued before the loop gets a turn: this takes 2 to 3 ms."""
FLUSH_STEP_SECONDS = 0.01
FLUSH_SECONDS = 3.0
"""How long `stop` waits for records that are not acknowledged. Later, awaiting them raises ProduceError."""


class RecordProducer:
    """One idempotent producer (`acks=all`) for all coroutines of an event loop.

    A record is acknowledged or rejected within `delivery_timeout` seconds, so nothing has to be cancelled. A record
    may still be written after the await for it was cancelled.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        delivery_timeout: float = 60.0,
        on_fatal: Callable[[TransportError], None] | None = None,
    ) -> None:
        """Create the producer without connecting.

        Args:
            settings: The connection settings.
            delivery_timeout: Seconds after which an unacknowledged record is rejected.
            on_fatal: Called on the loop if the producer can never work again. None: this is only logged.
        """
        self._settings = settings
        self._delivery_timeout = delivery_timeout
        self._on_fatal = on_fatal
        self._client: Producer | None = None
        self._ended = asyncio.Event()
        self._stopping = threading.Event()
        self._reports: list[DeliveryReport] = []
        self._complete_batches: list[ProduceBatch] = []

    async def start(self) -> None:
        """Connect in the background. Unreachable brokers are reported by the first produce. Raises TransportError."""
        if self._client is not None:
            return
        self._ended.clear()
        self._stopping.clear()
        config = producer_config(self._settings, self._delivery_timeout)
        # The brokers decide by the compressed size, the client before it compresses: 8 MB may take 8 KB.
        largest = max(LARGEST_COPY, int(config["message.max.bytes"]))
        options = {**config, "message.max.bytes": largest, "error_cb": self._on_error}
        try:
            self._client = Producer(options, logger=client_logger)
        except KafkaException as error:
            message = f"librdkafka rejects the producer's settings: {reason(error)}"
            raise TransportError(message) from error
        bridge = ThreadBridge(asyncio.get_running_loop(), self._fail)
        threading.Thread(target=self._run, args=(self._client, bridge), name="kafka-producer", daemon=True).start()

    async def stop(self) -> None:
        """Wait up to FLUSH_SECONDS for unacknowledged records, then stop. Records are refused from then on."""
        if self._client is None:
            return
        await self.flush()
        self._client = None  # nobody would read the report of a further record
        self._stopping.set()
        try:
            await asyncio.wait_for(self._ended.wait(), FLUSH_SECONDS)
        except TimeoutError:
            logger.warning("the producer's thread did not end in time")

    async def flush(self, seconds: float = FLUSH_SECONDS) -> int:
        """Wait up to `seconds` until all records are acknowledged. Returns how many are not.

        The client counts its own reports of lost connections with them, until its thread has read them.
        """
        client = self._client
        if client is None:
            return 0
        deadline = time.monotonic() + seconds
        while len(client) and time.monotonic() < deadline:  # noqa: ASYNC110 - librdkafka's queue has no event
            await asyncio.sleep(FLUSH_STEP_SECONDS)
        unacknowledged = len(client)
        if unacknowledged:
            logger.warning(
                "records were not acknowledged in time", extra={"records": unacknowledged, "seconds": seconds}
            )
        return unacknowledged

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
        """Produce one record and await its acknowledgement. Waits while librdkafka's queue is full.

        Args:
            topic: The topic to produce to.
            key: The record's key, by which the partition is chosen.
            value: The record's value. None: a tombstone.
            headers: The record's headers.
            partition: The partition, if not chosen by the key.
            timestamp: ms since the epoch. None: now.

        Raises:
            ProduceError: The record was not acknowledged.
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
        """Queue one record as `produce` does. Returns the future of its acknowledgement once it is queued."""
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        await self._queue(NewRecord(topic, key, value, headers), partial(self._report, future), partition, timestamp)
        return future

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Outcomes]":
        """Queue records in their order. Returns the future of all their outcomes once they are queued.

        There is one future for all of them, since a future per record costs more than the record. Waits while
        librdkafka's queue is full. If that takes too long, the later records are not queued, to keep the order.
        """
        batch = ProduceBatch()
        queue_error: ProduceError | None = None
        for number, record in enumerate(records):
            batch.add()
            try:
                if queue_error is not None:
                    raise queue_error
                await self._queue(record, partial(self._batch_report, batch, number))
            except ProduceError as error:
                batch.reject(number, error)
                queue_error = error if error.retriable else None
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
        if batch.close():
            batch.resolve()
        return batch.future

    async def _queue(
        self,
        record: NewRecord,
        report: Callable[[KafkaError | None, Message], None],
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        deadline: float | None = None
        while True:
            if self._client is None:
                message = "the producer is not started, or it was stopped"
                raise ProduceError(message, retriable=True)
            try:
                self._client.produce(
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
                raise produce_error(record.topic, error.args[0]) from error
            else:
                return

    def _fail(self, error: BaseException) -> None:
        """Stop producing after a fatal error. Runs on the event loop."""
        self._client = None
        message = f"the producer failed: {error}"
        if self._on_fatal is None:
            logger.critical(message)
        else:
            self._on_fatal(TransportError(message))

    # In the thread

    def _run(self, client: Producer, bridge: ThreadBridge) -> None:
        try:
            self._poll(client, bridge)
        except BaseException as error:  # noqa: BLE001 - any end of the thread must be reported, or produce never returns
            bridge.post(self._fail, error)
        bridge.post(self._ended.set)

    def _poll(self, client: Producer, bridge: ThreadBridge) -> None:
        fatal: list[KafkaException] = []
        while not self._stopping.is_set() and not fatal:
            poll_reports(client, POLL_SECONDS, fatal.append)
            self._post_reports(bridge)
        client.purge()
        poll_reports(client, 0, fatal.append)
        self._post_reports(bridge)
        if fatal:
            raise TransportError(reason(fatal[0])) from fatal[0]

    def _report(self, future: "asyncio.Future[RecordMetadata]", error: KafkaError | None, message: Message) -> None:
        self._reports.append((future, error, message))

    def _batch_report(self, batch: ProduceBatch, number: int, error: KafkaError | None, message: Message) -> None:
        if batch.report(number, error, message):
            self._complete_batches.append(batch)

    def _post_reports(self, bridge: ThreadBridge) -> None:
        while self._complete_batches:
            bridge.post(self._complete_batches.pop().resolve)
        if self._reports:
            reports, self._reports = self._reports, []
            bridge.post(resolve_reports, reports)

    def _on_error(self, error: KafkaError) -> None:
        client_logger.warning("Kafka: %s", error.str(), extra={"error": error.name()})
