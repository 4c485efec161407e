"""The relay: carries the outbox to Kafka, in the order of its rows, and deletes what Kafka acknowledged.

Of all relays one is active: the one whose transaction holds the row of `streams.relay`. It keeps no cursor, since
identities are drawn before commits: a lower row may appear after a higher one.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from streams.headers import Headers
from streams.observe.metrics import outbox_failed, outbox_relayed
from streams.publishing.outbox import headers_from_json
from streams.settings import Settings
from streams.transport.errors import ProduceError

logger = logging.getLogger(__name__)

BATCH = 500
HOLD = 1.0
"""Seconds that the active relay keeps one transaction open while nothing waits: a longer one would hold up vacuum."""
STANDBY_INTERVAL = 1.0
REST = 5.0
"""Seconds for which a topic that Kafka could not take is left alone, so that it does not hold up the others."""
FIRST_BACKOFF, LAST_BACKOFF = 0.25, 10.0
IDLE_LIMIT = "90s"
"""A relay that is frozen, or waits for Kafka longer than this, loses its lock; at worst its rows go out twice."""

LOCK = text("select id from streams.relay for update skip locked")
LIMIT_IDLE = text(f"set local idle_in_transaction_session_timeout = '{IDLE_LIMIT}'")
WAITING = text(
    """
    (select id, event_id, topic, key, value, headers from streams.outbox
     where failed_at is null and due_at is null and topic <> all(cast(:resting as text[]))
     order by id limit :batch)
    union all
    (select id, event_id, topic, key, value, headers from streams.outbox
     where failed_at is null and due_at <= statement_timestamp() and topic <> all(cast(:resting as text[]))
     order by due_at limit :batch)
    order by id limit :batch
    """
)
ACKNOWLEDGED = text("delete from streams.outbox where id = any(:ids)")
SET_ASIDE = text("update streams.outbox set failed_at = clock_timestamp(), error = :error where id = :id")


class Records(Protocol):
    """Where records go; `streams.transport.producer.RecordProducer` is the real one."""

    async def produce(self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> object:
        """Produce and await the acknowledgement. Raises ProduceError."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one transaction of a relay did."""

    active: bool
    """False: another relay holds the lock."""
    acknowledged: int = 0


class Relay:
    """One relay of a worker (or of a process of its own). Any number may run; one is active."""

    def __init__(self, engine: AsyncEngine, records: Records, settings: Settings) -> None:
        self._engine = engine
        self._records = records
        self._interval = settings.outbox_poll_interval
        self._resting: dict[str, float] = {}
        self._active: bool | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set; the batch under way is finished first.

        An outage of the database or of Kafka is logged and waited out. Cancelling is safe: the batch under way is
        rolled back and goes out again.
        """
        backoff = FIRST_BACKOFF
        while not stop.is_set():
            try:
                turn = await self._turn(stop, hold=HOLD)
            except Exception as error:  # whatever it is, events wait: say so and go on
                logger.exception(
                    "the relay failed, events wait in the outbox",
                    extra={"error_type": type(error).__name__, "retry_in_seconds": backoff},
                )
                self._active = None
                await _pause(stop, backoff)
                backoff = min(2 * backoff, LAST_BACKOFF)
                continue
            backoff = FIRST_BACKOFF
            if turn.active != self._active:
                logger.info("this relay is active" if turn.active else "this relay stands by")
                self._active = turn.active
            if not turn.active:
                await _pause(stop, STANDBY_INTERVAL)

    async def step(self) -> int:
        """Carry what waits now, at most one batch; returns how many rows Kafka acknowledged."""
        return (await self._turn(asyncio.Event(), hold=0.0)).acknowledged

    async def _turn(self, stop: asyncio.Event, hold: float) -> Turn:
        """One transaction as the active relay, which ends with the first batch or after `hold` seconds without one."""
        async with self._engine.begin() as connection:
            if (await connection.execute(LOCK)).first() is None:
                return Turn(active=False)
            await connection.execute(LIMIT_IDLE)
            end = time.monotonic() + hold
            while not (rows := await self._waiting(connection)):
                if stop.is_set() or time.monotonic() >= end:
                    return Turn(active=True)
                await _pause(stop, self._interval)
            return Turn(active=True, acknowledged=await self._carry(connection, rows))

    async def _waiting(self, connection: AsyncConnection) -> Sequence[Row[tuple[object, ...]]]:
        now = time.monotonic()
        self._resting = {topic: until for topic, until in self._resting.items() if until > now}
        found = await connection.execute(WAITING, {"resting": list(self._resting), "batch": BATCH})
        return found.all()

    async def _carry(self, connection: AsyncConnection, rows: Sequence[Row[tuple[object, ...]]]) -> int:
        outcomes = await asyncio.gather(*(self._produce(row) for row in rows))
        acknowledged = [row.id for row, refusal in zip(rows, outcomes, strict=True) if refusal is None]
        for row, refusal in zip(rows, outcomes, strict=True):
            if refusal is None:
                continue
            if refusal.retriable:
                self._rest(row.topic, refusal)
            else:
                await self._set_aside(connection, row, refusal)
        if acknowledged:
            await connection.execute(ACKNOWLEDGED, {"ids": acknowledged})
            outbox_relayed.inc(len(acknowledged))
        return len(acknowledged)

    async def _produce(self, row: Row[tuple[object, ...]]) -> ProduceError | None:
        try:
            await self._records.produce(row.topic, key=row.key, value=row.value, headers=headers_from_json(row.headers))
        except ProduceError as refusal:
            return refusal
        except ValueError as error:  # headers that nobody can read: as final as Kafka's own refusal
            return ProduceError(str(error), retriable=False)
        return None

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


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but no longer than until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
