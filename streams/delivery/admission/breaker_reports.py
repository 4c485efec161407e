"""Reports the state of a worker's circuit breakers in the database: rows that `streams breakers` reads."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
REPORT_INTERVAL = 5.0
"""Seconds between two reports while nothing changes. A row that is a minute old belongs to a worker that ended."""

UPSERT = text(
    """
    insert into streams.breakers (worker, dependency, state, failures, retry_at, error)
    values (:worker, :dependency, :state, :failures, :retry_at, :error)
    on conflict (worker, dependency) do update set
        state = excluded.state, failures = excluded.failures, retry_at = excluded.retry_at, error = excluded.error,
        seen_at = clock_timestamp()
    """
)
DELETE = text(
    "delete from streams.breakers where worker = :worker or seen_at < clock_timestamp() - interval '1 minute'"
)


class BreakerReports:
    """Writes the rows when a breaker changes, and at least every five seconds."""

    def __init__(self, engine: AsyncEngine, breakers: BreakerRegistry, worker: str) -> None:
        self._engine = engine
        self._breakers = breakers
        self._worker = worker
        self._changed = asyncio.Event()
        breakers.on_change(self._changed.set)

    async def run(self) -> None:
        """Write the rows until cancelled. While the database is unavailable, try every second."""
        while True:
            try:
                await self._report()
            except (SQLAlchemyError, OSError) as error:
                log.debug("cannot report the circuit breakers", error=message(error))
                await asyncio.sleep(1)
                continue
            try:
                async with asyncio.timeout(REPORT_INTERVAL):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def delete(self) -> None:
        """Delete the rows of this worker. If the database is unavailable, another worker deletes them by their age."""
        try:
            async with self._engine.begin() as connection:
                await connection.execute(DELETE, {"worker": self._worker})
        except (SQLAlchemyError, OSError) as error:
            log.debug("cannot delete the rows of the circuit breakers", error=message(error))

    async def _report(self) -> None:
        self._changed.clear()
        now = datetime.now(tz=UTC)
        rows = [
            {
                "worker": self._worker,
                "dependency": breaker.dependency,
                "state": breaker.state,
                "failures": breaker.failures,
                "retry_at": None
                if breaker.state == "closed"
                else now + timedelta(seconds=self._breakers.seconds_until_probe(breaker.dependency)),
                "error": breaker.error,
            }
            for breaker in self._breakers.all
        ]
        if rows:
            async with self._engine.begin() as connection:
                await connection.execute(UPSERT, rows)
