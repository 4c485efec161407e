"""The relay: sends the outbox to Kafka in the order of its rows, and deletes the acknowledged rows.

Only the relay whose transaction locks the row of `streams.relay` is active. It keeps no cursor: ids are assigned before
the commit, so a lower id may appear after a higher one. While Kafka acknowledges a batch, the relay sends the next one.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from streams.observability.metrics import outbox_failed, outbox_relayed
from streams.observability.outbox_metrics import set_outbox_depth
from streams.publishing.outbox.depth import measure_depth
from streams.publishing.outbox.outbox import headers_from_json
from streams.settings import Settings
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.records import NewRecord

logger = logging.getLogger(__name__)

BATCH_ROWS = 2000
"""The maximum number of rows in a batch. At most two batches are in flight."""
BATCH_BYTES = 16 * 1024 * 1024
"""The maximum size of a batch's values in bytes. It limits the memory that large events need."""
IDLE_SECONDS = 1.0
"""How long the active relay keeps a transaction open while no rows wait. A longer one would delay vacuum."""
SEND_SECONDS = 0.25
"""How long one transaction sends. If the relay is killed, the rows of its transaction are sent again."""
STANDBY_INTERVAL = 0.5
"""How often a standby relay tries to get the lock."""
IDLE_TIMEOUT = "1s"
"""The database releases the lock of an active relay that is silent for this long: it is frozen or its machine is down.

Together with STANDBY_INTERVAL this stays below two seconds, within which a standby relay takes over.
"""
HEARTBEAT_SECONDS = 0.3
"""How often an active relay that waits for Kafka executes a statement, to keep its lock."""
TOPIC_PAUSE_SECONDS = 5.0
"""How long a topic is skipped after Kafka could not take its records, so that it does not delay other topics."""
FIRST_BACKOFF, LAST_BACKOFF = 0.25, 10.0
DEPTH_SECONDS = 5.0
"""How often the depth of the outbox is measured."""
IDLE_TIMEOUT_STATE = "25P03"
"""The SQLSTATE of a connection that IDLE_TIMEOUT ended."""

T = TypeVar("T")
Rows = Sequence[Row[tuple[object, ...]]]

# A generic plan compares each row with all rows in flight. A custom plan knows the values and hashes them.
TRANSACTION_SETTINGS = text(
    f"select set_config('idle_in_transaction_session_timeout', '{IDLE_TIMEOUT}', true),"
    " set_config('plan_cache_mode', 'force_custom_plan', true)"
)
LOCK = text("select id from streams.relay for update skip locked")
WAITING = text(
    """
    select id, event_id, topic, key, value, cast(headers as text) as headers from (
        select *, sum(octet_length(value)) over (order by id) - octet_length(value) as before from (
            (select id, event_id, topic, key, value, headers from streams.outbox
             where failed_at is null and due_at is null and (:everything or topic like '%.retry.%')
                 and topic <> all(cast(:paused_topics as text[])) and id <> all(cast(:in_flight as bigint[]))
             order by id limit :batch)
            union all
            (select id, event_id, topic, key, value, headers from streams.outbox
             where failed_at is null and due_at <= statement_timestamp()
                 and topic <> all(cast(:paused_topics as text[])) and id <> all(cast(:in_flight as bigint[]))
             order by due_at limit :batch)
            order by id limit :batch
        ) as waiting
    ) as measured
    where before is null or before < :room
    order by id
    """
)
HEARTBEAT = text("select 1")
ACKNOWLEDGED = text("delete from streams.outbox where id = any(:ids)")
SET_ASIDE = text("update streams.outbox set failed_at = clock_timestamp(), error = :error where id = :id")


class Records(Protocol):
    """The producer interface that the relay needs. `streams.transport.kafka.producer.RecordProducer` has it."""

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Sequence[ProduceError | None]]":
        """Queue records in their order. Returns the future of their outcomes. None: acknowledged."""


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """The result of one transaction of a relay."""

    active: bool
    """False: another relay has the lock."""
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows whose records were sent."""

    rows: Rows
    unreadable: dict[int, ProduceError]
    """The rows that were not sent because their headers cannot be decoded, by id."""
    outcomes: "asyncio.Future[Sequence[ProduceError | None]]"
    """The outcomes of all other rows."""


class Relay:
    """One relay, in a worker or in its own process. Any number may run; one of them is active."""

    def __init__(self, engine: AsyncEngine, records: Records, settings: Settings) -> None:
        """Create a relay.

        Args:
            engine: The bookkeeping connections.
            records: The producer.
            settings: The polling interval, and which rows are relayed.
        """
        self._engine = engine
        self._records = records
        self._interval = settings.outbox_poll_interval
        self._everything = settings.outbox_relayed == "all"
        self._paused_topics: dict[str, float] = {}
        self._active: bool | None = None
        self._depth_at = 0.0
        self.acknowledged = 0
        """The number of rows that Kafka acknowledged and that were deleted from the outbox."""

    async def run(self, stop: asyncio.Event) -> None:
        """Send rows until `stop` is set. The batches in flight are finished first.

        After an outage of the database or of Kafka it tries again. It is safe to cancel: its rows are sent again.
        """
        backoff = FIRST_BACKOFF
        while not stop.is_set():
            try:
                result = await self._run_transaction(stop, idle=IDLE_SECONDS, send=SEND_SECONDS)
            except Exception as error:  # any error: the events stay in the outbox, so log it and try again
                if _idle_timed_out(error):
                    logger.warning("this relay was frozen and lost its lock; records in flight may be sent twice")
                else:
                    logger.exception(
                        "the relay failed; events stay in the outbox",
                        extra={"error_type": type(error).__name__, "retry_in_seconds": backoff},
                    )
                self._set_active(active=None)
                await _sleep(stop, backoff)
                backoff = min(2 * backoff, LAST_BACKOFF)
                continue
            backoff = FIRST_BACKOFF
            self._set_active(active=result.active)
            if not result.active:
                await _sleep(stop, STANDBY_INTERVAL)
        self._set_active(active=None)

    async def step(self) -> int:
        """Send the rows that wait now, at most one batch. Returns how many rows Kafka acknowledged."""
        return (await self._run_transaction(asyncio.Event(), idle=0.0, send=0.0)).acknowledged

    def _set_active(self, *, active: bool | None) -> None:
        if active is not self._active and active is not None:
            logger.info("this relay is active" if active else "this relay stands by")
        if not active:
            set_outbox_depth(None)
        self._active = active

    async def _run_transaction(self, stop: asyncio.Event, *, idle: float, send: float) -> TransactionResult:
        """Run one transaction. As the active relay, send rows in it.

        Args:
            stop: Ends the wait for rows.
            idle: Seconds to wait for the first row.
            send: Seconds after which no more rows are read.
        """
        async with self._engine.begin() as connection:
            await connection.execute(TRANSACTION_SETTINGS)
            if (await connection.execute(LOCK)).first() is None:
                return TransactionResult(active=False)
            if self._active is False:
                self._set_active(active=True)
            await self._measure(connection)
            end = time.monotonic() + idle
            while not (rows := await self._next_rows(connection)):
                if stop.is_set() or time.monotonic() >= end:
                    return TransactionResult(active=True)
                await _sleep(stop, self._interval)
            acknowledged = await self._send_rows(connection, rows, until=time.monotonic() + send)
        self.acknowledged += acknowledged
        outbox_relayed.inc(acknowledged)
        return TransactionResult(active=True, acknowledged=acknowledged)

    async def _measure(self, connection: AsyncConnection) -> None:
        if time.monotonic() >= self._depth_at:
            set_outbox_depth(await connection.run_sync(measure_depth))
            self._depth_at = time.monotonic() + DEPTH_SECONDS

    async def _next_rows(self, connection: AsyncConnection, in_flight: Rows = ()) -> Rows:
        now = time.monotonic()
        self._paused_topics = {topic: until for topic, until in self._paused_topics.items() if until > now}
        found = await connection.execute(
            WAITING,
            {
                "paused_topics": list(self._paused_topics),
                "in_flight": [row.id for row in in_flight],
                "everything": self._everything,
                "batch": BATCH_ROWS,
                "room": BATCH_BYTES,
            },
        )
        return found.all()

    async def _send_rows(self, connection: AsyncConnection, rows: Rows, until: float) -> int:
        """Send these rows and the next ones. Returns how many Kafka acknowledged, after all outcomes are known."""
        acknowledged = 0
        batch: _Batch | None = await self._send(connection, rows)
        while batch is not None:
            more = await self._next_rows(connection, in_flight=batch.rows) if time.monotonic() < until else ()
            following = await self._send(connection, more) if more else None
            acknowledged += await self._settle(connection, batch)
            batch = following
        return acknowledged

    async def _send(self, connection: AsyncConnection, rows: Rows) -> _Batch:
        unreadable: dict[int, ProduceError] = {}
        sent = self._records.send_all(_records(rows, unreadable))
        return _Batch(rows, unreadable, await _await_with_heartbeat(connection, sent))

    async def _settle(self, connection: AsyncConnection, batch: _Batch) -> int:
        sent = iter(await _await_with_heartbeat(connection, batch.outcomes))
        acknowledged = []
        for row in batch.rows:
            error = batch.unreadable.get(row.id) or next(sent)
            if error is None:
                acknowledged.append(row.id)
            elif error.retriable:
                self._pause_topic(row.topic, error)
            else:
                await self._set_aside(connection, row, error)
        if acknowledged:
            await connection.execute(ACKNOWLEDGED, {"ids": acknowledged})
        return len(acknowledged)

    def _pause_topic(self, topic: str, error: ProduceError) -> None:
        if topic not in self._paused_topics:
            logger.warning(
                "Kafka does not accept records of a topic; they stay in the outbox",
                extra={"topic": topic, "error": str(error), "retry_in_seconds": TOPIC_PAUSE_SECONDS},
            )
        self._paused_topics[topic] = time.monotonic() + TOPIC_PAUSE_SECONDS

    async def _set_aside(self, connection: AsyncConnection, row: Row[tuple[object, ...]], error: ProduceError) -> None:
        logger.error(
            "Kafka rejected an event; its outbox row is set aside and will not be sent",
            extra={"outbox_id": row.id, "event_id": str(row.event_id), "topic": row.topic, "error": str(error)},
        )
        await connection.execute(SET_ASIDE, {"id": row.id, "error": str(error)})
        outbox_failed.inc()


def _records(rows: Rows, unreadable: dict[int, ProduceError]) -> Iterator[NewRecord]:
    """Yield records one by one. Thousands of headers at once would keep the garbage collector busy."""
    for row in rows:
        try:
            record = NewRecord(row.topic, row.key, row.value, headers_from_json(json.loads(row.headers)))
        except ValueError as error:  # undecodable headers are as permanent as a rejection by Kafka
            unreadable[row.id] = ProduceError(str(error), retriable=False)
        else:
            yield record


async def _await_with_heartbeat(connection: AsyncConnection, work: Awaitable[T]) -> T:
    """Wait for Kafka, and execute statements meanwhile so that the database keeps the lock."""
    waited = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({waited}, timeout=HEARTBEAT_SECONDS))[0]:
            await connection.execute(HEARTBEAT)
    except BaseException:
        waited.cancel()
        raise
    return waited.result()


def _idle_timed_out(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == IDLE_TIMEOUT_STATE


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
