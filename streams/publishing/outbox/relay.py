"""The relay: carries the outbox to Kafka, in the order of its rows, and deletes what Kafka acknowledged.

Of all relays one is active: the one whose transaction holds the row of `streams.relay`. It keeps no cursor, since
identities are drawn before commits: a lower row may appear after a higher one. While a batch waits for Kafka's word the
next one is fetched and sent, so that neither waits for the other.
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
from streams.observability.outbox_metrics import outbox_seen
from streams.publishing.outbox.depth import measure_depth
from streams.publishing.outbox.outbox import headers_from_json
from streams.settings import Settings
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.records import NewRecord

logger = logging.getLogger(__name__)

BATCH = 2000
"""Rows of one batch; two are under way at most."""
ROOM = 16 * 1024 * 1024
"""Bytes of one batch's values, so that large events do not fill the memory."""
HOLD = 1.0
"""Seconds that the active relay keeps one transaction open while nothing waits: a longer one would hold up vacuum."""
CARRY = 0.25
"""Seconds after which a transaction that finds ever more rows ends: what it sent goes out again if it is cut off."""
STANDBY_INTERVAL = 0.5
"""Seconds between two looks of a stand-by, whether the active one is gone."""
IDLE_LIMIT = "1s"
"""An active relay that is silent for so long (frozen, or its machine is gone) loses its lock, by the database's clock.

Together with STANDBY_INTERVAL below the two seconds within which a stand-by takes over.
"""
SIGN_OF_LIFE = 0.3
"""Seconds after which an active relay that waits for Kafka says that it lives."""
REST = 5.0
"""Seconds for which a topic that Kafka could not take is left alone, so that it does not hold up the others."""
FIRST_BACKOFF, LAST_BACKOFF = 0.25, 10.0
LOOK = 5.0
"""Seconds between two looks at how much waits."""
SILENT_TOO_LONG = "25P03"
"""SQLSTATE of a connection that was ended by IDLE_LIMIT."""

T = TypeVar("T")
Rows = Sequence[Row[tuple[object, ...]]]

# A generic plan would compare each row with all that are under way; with the values at hand they are hashed.
LIMITS = text(
    f"select set_config('idle_in_transaction_session_timeout', '{IDLE_LIMIT}', true),"
    " set_config('plan_cache_mode', 'force_custom_plan', true)"
)
LOCK = text("select id from streams.relay for update skip locked")
WAITING = text(
    """
    select id, event_id, topic, key, value, cast(headers as text) as headers from (
        select *, sum(octet_length(value)) over (order by id) - octet_length(value) as before from (
            (select id, event_id, topic, key, value, headers from streams.outbox
             where failed_at is null and due_at is null and (:everything or topic like '%.retry.%')
                 and topic <> all(cast(:resting as text[])) and id <> all(cast(:under_way as bigint[]))
             order by id limit :batch)
            union all
            (select id, event_id, topic, key, value, headers from streams.outbox
             where failed_at is null and due_at <= statement_timestamp()
                 and topic <> all(cast(:resting as text[])) and id <> all(cast(:under_way as bigint[]))
             order by due_at limit :batch)
            order by id limit :batch
        ) as waiting
    ) as measured
    where before is null or before < :room
    order by id
    """
)
ALIVE = text("select 1")
ACKNOWLEDGED = text("delete from streams.outbox where id = any(:ids)")
SET_ASIDE = text("update streams.outbox set failed_at = clock_timestamp(), error = :error where id = :id")


class Records(Protocol):
    """Where records go; `streams.transport.kafka.producer.RecordProducer` is the real one."""

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Sequence[ProduceError | None]]":
        """Queue records in their order, with a future of what became of each; None: acknowledged."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one transaction of a relay did."""

    active: bool
    """False: another relay holds the lock."""
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that were sent."""

    rows: Rows
    unreadable: dict[int, ProduceError]
    """Those that were not, since nobody can read their headers; by their ids."""
    outcomes: "asyncio.Future[Sequence[ProduceError | None]]"
    """Of the others."""


class Relay:
    """One relay of a worker (or of a process of its own). Any number may run; one is active."""

    def __init__(self, engine: AsyncEngine, records: Records, settings: Settings) -> None:
        self._engine = engine
        self._records = records
        self._interval = settings.outbox_poll_interval
        self._everything = settings.outbox_relayed == "all"
        self._resting: dict[str, float] = {}
        self._active: bool | None = None
        self._look_at = 0.0
        self.acknowledged = 0
        """Rows that Kafka has and the outbox no longer."""

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set; what is under way is finished first.

        An outage of the database or of Kafka is logged and waited out. Cancelling is safe: what is under way is
        rolled back and goes out again.
        """
        backoff = FIRST_BACKOFF
        while not stop.is_set():
            try:
                turn = await self._turn(stop, hold=HOLD, carry=CARRY)
            except Exception as error:  # whatever it is, events wait: say so and go on
                if _stood_still(error):
                    logger.warning("this relay stood still and lost its lock, what was under way may go out twice")
                else:
                    logger.exception(
                        "the relay failed, events wait in the outbox",
                        extra={"error_type": type(error).__name__, "retry_in_seconds": backoff},
                    )
                self._become(active=None)
                await _pause(stop, backoff)
                backoff = min(2 * backoff, LAST_BACKOFF)
                continue
            backoff = FIRST_BACKOFF
            self._become(active=turn.active)
            if not turn.active:
                await _pause(stop, STANDBY_INTERVAL)
        self._become(active=None)

    async def step(self) -> int:
        """Carry what waits now, at most one batch; returns how many rows Kafka acknowledged."""
        return (await self._turn(asyncio.Event(), hold=0.0, carry=0.0)).acknowledged

    def _become(self, *, active: bool | None) -> None:
        if active is not self._active and active is not None:
            logger.info("this relay is active" if active else "this relay stands by")
        if not active:
            outbox_seen(None)
        self._active = active

    async def _turn(self, stop: asyncio.Event, *, hold: float, carry: float) -> Turn:
        """One transaction as the active relay.

        It ends after `hold` seconds without a row, else when nothing more waits, or after `carry` seconds.
        """
        async with self._engine.begin() as connection:
            await connection.execute(LIMITS)
            if (await connection.execute(LOCK)).first() is None:
                return Turn(active=False)
            if self._active is False:
                self._become(active=True)
            await self._measure(connection)
            end = time.monotonic() + hold
            while not (rows := await self._waiting(connection)):
                if stop.is_set() or time.monotonic() >= end:
                    return Turn(active=True)
                await _pause(stop, self._interval)
            acknowledged = await self._carry(connection, rows, until=time.monotonic() + carry)
        self.acknowledged += acknowledged
        outbox_relayed.inc(acknowledged)
        return Turn(active=True, acknowledged=acknowledged)

    async def _measure(self, connection: AsyncConnection) -> None:
        if time.monotonic() >= self._look_at:
            outbox_seen(await connection.run_sync(measure_depth))
            self._look_at = time.monotonic() + LOOK

    async def _waiting(self, connection: AsyncConnection, under_way: Rows = ()) -> Rows:
        now = time.monotonic()
        self._resting = {topic: until for topic, until in self._resting.items() if until > now}
        found = await connection.execute(
            WAITING,
            {
                "resting": list(self._resting),
                "under_way": [row.id for row in under_way],
                "everything": self._everything,
                "batch": BATCH,
                "room": ROOM,
            },
        )
        return found.all()

    async def _carry(self, connection: AsyncConnection, rows: Rows, until: float) -> int:
        """Send the rows and those behind them; returns how many Kafka acknowledged, once nothing is under way."""
        acknowledged = 0
        batch: _Batch | None = await self._send(connection, rows)
        while batch is not None:
            more = await self._waiting(connection, under_way=batch.rows) if time.monotonic() < until else ()
            following = await self._send(connection, more) if more else None
            acknowledged += await self._settle(connection, batch)
            batch = following
        return acknowledged

    async def _send(self, connection: AsyncConnection, rows: Rows) -> _Batch:
        unreadable: dict[int, ProduceError] = {}
        sent = self._records.send_all(_records(rows, unreadable))
        return _Batch(rows, unreadable, await _await_alive(connection, sent))

    async def _settle(self, connection: AsyncConnection, batch: _Batch) -> int:
        sent = iter(await _await_alive(connection, batch.outcomes))
        acknowledged = []
        for row in batch.rows:
            refusal = batch.unreadable.get(row.id) or next(sent)
            if refusal is None:
                acknowledged.append(row.id)
            elif refusal.retriable:
                self._rest(row.topic, refusal)
            else:
                await self._set_aside(connection, row, refusal)
        if acknowledged:
            await connection.execute(ACKNOWLEDGED, {"ids": acknowledged})
        return len(acknowledged)

    def _rest(self, topic: str, refusal: ProduceError) -> None:
        if topic not in self._resting:
            logger.warning(
                "Kafka does not take events of a topic, they wait in the outbox",
                extra={"topic": topic, "error": str(refusal), "retry_in_seconds": REST},
            )
        self._resting[topic] = time.monotonic() + REST

    async def _set_aside(
        self, connection: AsyncConnection, row: Row[tuple[object, ...]], refusal: ProduceError
    ) -> None:
        logger.error(
            "Kafka refused an event: its outbox row is set aside and will not go out",
            extra={"outbox_id": row.id, "event_id": str(row.event_id), "topic": row.topic, "error": str(refusal)},
        )
        await connection.execute(SET_ASIDE, {"id": row.id, "error": str(refusal)})
        outbox_failed.inc()


def _records(rows: Rows, unreadable: dict[int, ProduceError]) -> Iterator[NewRecord]:
    """Made one by one as they are sent: thousands of headers at once would keep the garbage collector busy."""
    for row in rows:
        try:
            record = NewRecord(row.topic, row.key, row.value, headers_from_json(json.loads(row.headers)))
        except ValueError as error:  # headers that nobody can read: as final as Kafka's own refusal
            unreadable[row.id] = ProduceError(str(error), retriable=False)
        else:
            yield record


async def _await_alive(connection: AsyncConnection, work: Awaitable[T]) -> T:
    """Wait for Kafka, and show the database meanwhile that this relay lives."""
    waited = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({waited}, timeout=SIGN_OF_LIFE))[0]:
            await connection.execute(ALIVE)
    except BaseException:
        waited.cancel()
        raise
    return waited.result()


def _stood_still(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == SILENT_TOO_LONG


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but no longer than until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
