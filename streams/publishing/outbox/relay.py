"""The relay: sends the outbox to Kafka in the order of its rows, and deletes the acknowledged rows.

Only the relay whose transaction locks the row of `streams.relay` is active. It keeps no cursor: ids are assigned before
the commit, so a lower id may appear after a higher one. While Kafka acknowledges a batch, the relay sends the next one.
"""

import asyncio
import logging
import math
import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from streams.observability.metrics import outbox_relayed
from streams.observability.outbox_metrics import set_outbox_depth
from streams.publishing.outbox.depth import measure_depth
from streams.publishing.outbox.in_flight import InFlight, Records, Rows
from streams.publishing.outbox.statements import LOCK, WAITING
from streams.settings import Settings

logger = logging.getLogger(__name__)

BATCH_ROWS = 2000
"""The maximum number of rows in a batch."""
BATCH_BYTES = 16 * 1024 * 1024
"""The maximum size of a batch's values in bytes. It limits the memory that large events need."""
IDLE_SECONDS = 1.0
"""How long the active relay keeps a transaction open while no rows wait. A longer one would delay vacuum."""
SEND_SECONDS = 0.25
"""How long one transaction sends. If the relay is killed, the rows of its transaction are sent again."""
STANDBY_INTERVAL = 0.5
"""How often a standby relay tries to get the lock."""
WITHDRAWAL_INTERVAL = 0.05
"""How soon a relay that was active tries again. Mostly a withdrawal has its lock, for milliseconds. A standby that came
first would send the rows in flight again."""
IDLE_TIMEOUT = "1s"
"""The database releases the lock of an active relay that is silent for this long: it is frozen or its machine is down.

Together with STANDBY_INTERVAL this stays below two seconds, within which a standby relay takes over.
"""
SLOW_SECONDS = 0.5
"""How long the other topics wait for Kafka's answer about a topic. Later that topic is skipped until the answer."""
BATCHES_IN_FLIGHT = 2
MAX_ROWS_IN_FLIGHT = 4 * BATCH_ROWS
"""The maximum number of rows that Kafka has not answered, those of slow topics included. It limits the memory."""
LOOK_SHARE, LONGEST_PAUSE = 4.0, 0.5
"""An idle relay waits for this multiple of the duration of its last look, up to so many seconds. So looks that take
long, because deleted rows cannot be removed yet, do not keep the database busy."""
FIRST_BACKOFF, LAST_BACKOFF = 0.25, 10.0
DEPTH_SECONDS = 5.0
"""How often the depth of the outbox is measured."""
IDLE_TIMEOUT_STATE = "25P03"
"""The SQLSTATE of a connection that IDLE_TIMEOUT ended."""


# A generic plan compares each row with all rows in flight. A custom plan knows the values and hashes them.
TRANSACTION_SETTINGS = text(
    f"select set_config('idle_in_transaction_session_timeout', '{IDLE_TIMEOUT}', true),"
    " set_config('plan_cache_mode', 'force_custom_plan', true)"
)


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """The result of one transaction of a relay."""

    active: bool
    """False: another relay has the lock."""
    acknowledged: int = 0


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
        self._interval = settings.outbox_poll_interval
        self._everything = settings.outbox_relayed == "all"
        self._in_flight = InFlight(records)
        self._look_seconds = 0.0
        """Duration of the last two looks for rows, the shorter one: a busy machine makes single looks long."""
        self._last_look = 0.0
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
                result = await self._run_transaction(stop, idle=IDLE_SECONDS, send=SEND_SECONDS, slow=SLOW_SECONDS)
            except Exception as error:  # any error: the events stay in the outbox, so log it and try again
                if _idle_timed_out(error):
                    logger.warning("this relay was frozen and lost its lock; records in flight may be sent twice")
                else:
                    logger.exception(
                        "the relay failed; events stay in the outbox",
                        extra={"error_type": type(error).__name__, "retry_in_seconds": backoff},
                    )
                self._set_active(active=None)
                self._in_flight.clear()
                await _sleep(stop, backoff)
                backoff = min(2 * backoff, LAST_BACKOFF)
                continue
            backoff = FIRST_BACKOFF
            was_active = self._active
            self._set_active(active=result.active)
            if not result.active:
                await _sleep(stop, WITHDRAWAL_INTERVAL if was_active else STANDBY_INTERVAL)
        await self._finish(stop)
        self._set_active(active=None)

    async def step(self) -> int:
        """Send the rows that wait now, at most one batch. Returns how many rows Kafka acknowledged."""
        return (await self._run_transaction(asyncio.Event(), idle=0.0, send=0.0)).acknowledged

    async def _finish(self, stop: asyncio.Event) -> None:
        """Wait for Kafka's answers about the rows in flight. After a failure they stay in the outbox."""
        try:
            while len(self._in_flight):
                result = await self._run_transaction(stop, idle=0.0, send=0.0)
                if not result.active:
                    return  # another relay sends these rows again
        except Exception:
            logger.exception("the relay failed while it stopped; events stay in the outbox")

    def _set_active(self, *, active: bool | None) -> None:
        if active is not self._active and active is not None:
            logger.info("this relay is active" if active else "this relay stands by")
        if not active:
            set_outbox_depth(None)
        self._active = active

    async def _run_transaction(
        self, stop: asyncio.Event, *, idle: float, send: float, slow: float = math.inf
    ) -> TransactionResult:
        """Run one transaction. As the active relay, send rows in it.

        Args:
            stop: Ends the wait for rows.
            idle: Seconds to wait for the first row.
            send: Seconds after which no more rows are read.
            slow: Seconds after which the transaction no longer waits for a part. Its topic is then skipped.
        """
        async with self._engine.begin() as connection:
            await connection.execute(TRANSACTION_SETTINGS)
            lock = (await connection.execute(LOCK)).first()
            if lock is None:
                return TransactionResult(active=False)
            self._in_flight.resume(lock.in_flight)
            if self._active is False:
                self._set_active(active=True)
            await self._measure(connection)
            end = time.monotonic() + idle
            while not (acknowledged := await self._in_flight.settle_answered(connection)):
                rows = () if stop.is_set() else await self._next_rows(connection)
                if rows or (len(self._in_flight) and slow == math.inf):
                    acknowledged = await self._send_rows(connection, rows, time.monotonic() + send, slow)
                    break
                if stop.is_set() or time.monotonic() >= end:
                    break
                await _sleep(stop, self._pause())
            await self._in_flight.note(connection)
        self.acknowledged += acknowledged
        outbox_relayed.inc(acknowledged)
        return TransactionResult(active=True, acknowledged=acknowledged)

    def _pause(self) -> float:
        """Return the seconds between two looks that found nothing: longer where a look takes long."""
        return max(self._interval, min(LONGEST_PAUSE, self._look_seconds * LOOK_SHARE))

    async def _measure(self, connection: AsyncConnection) -> None:
        if time.monotonic() >= self._depth_at:
            set_outbox_depth(await connection.run_sync(measure_depth))
            self._depth_at = time.monotonic() + DEPTH_SECONDS

    async def _next_rows(self, connection: AsyncConnection, slow: float = SLOW_SECONDS) -> Rows:
        """Return the next rows, without those of topics that rest, are slow or have a limited part in flight."""
        if len(self._in_flight) >= MAX_ROWS_IN_FLIGHT:
            return ()
        began = time.monotonic()
        found = await connection.execute(
            WAITING,
            {
                "skipped_topics": self._in_flight.skipped_topics(slow),
                "in_flight": self._in_flight.ids,
                "everything": self._everything,
                "batch": BATCH_ROWS,
                "room": BATCH_BYTES,
            },
        )
        took = time.monotonic() - began
        self._look_seconds, self._last_look = min(took, self._last_look), took
        return found.all()

    async def _send_rows(self, connection: AsyncConnection, rows: Rows, until: float, slow: float) -> int:
        """Send these rows and the next ones. Returns how many Kafka acknowledged.

        Args:
            connection: The transaction.
            rows: What is sent first.
            until: When no more rows are read, seconds of the monotonic clock.
            slow: Seconds after which a part is no longer waited for.
        """
        in_flight, acknowledged = self._in_flight, 0
        while True:
            if rows:
                await in_flight.send(connection, rows)
            acknowledged += await in_flight.settle_answered(connection)
            batches = in_flight.awaited_batches(slow)
            rows = ()
            if batches < BATCHES_IN_FLIGHT and time.monotonic() < until:
                rows = await self._next_rows(connection, slow)
            if not rows:
                if batches == 0:
                    return acknowledged
                await in_flight.wait(connection, slow)


def _idle_timed_out(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == IDLE_TIMEOUT_STATE


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
