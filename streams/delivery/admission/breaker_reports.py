"""What each worker tells of its breakers, for operators: rows that `streams breakers` reads."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
TELL_INTERVAL = 5.0
"""Seconds between two tellings where nothing changes; what is a minute old is of a worker that is gone."""

TELL = text(
    """
    insert into streams.breakers (worker, dependency, state, failures, retry_at, error)
    values (:worker, :dependency, :state, :failures, :retry_at, :error)
    on conflict (worker, dependency) do update set
        state = excluded.state, failures = excluded.failures, retry_at = excluded.retry_at, error = excluded.error,
        seen_at = clock_timestamp()
    """
)
FORGET = text(
    "delete from streams.breakers where worker = :worker or seen_at < clock_timestamp() - interval '1 minute'"
)


class BreakerReports:
    """Tells when a breaker changes, and at least every five seconds."""

    def __init__(self, engine: AsyncEngine, breakers: BreakerRegistry, worker: str) -> None:
        self._engine = engine
        self._breakers = breakers
        self._worker = worker
        self._changed = asyncio.Event()
        breakers.on_change(self._changed.set)

    async def run(self) -> None:
        """Until cancelled; a database that is away is told later."""
        while True:
            try:
                await self._tell()
            except (SQLAlchemyError, OSError) as error:
                log.debug("cannot tell of the breakers", error=message(error))
                await asyncio.sleep(1)
            try:
                async with asyncio.timeout(TELL_INTERVAL):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def forget(self) -> None:
        """The worker ends: nothing of it is left. If the database is away its rows grow old, and go with the next."""
        try:
            async with self._engine.begin() as connection:
                await connection.execute(FORGET, {"worker": self._worker})
        except (SQLAlchemyError, OSError) as error:
            log.debug("cannot take back what was told of the breakers", error=message(error))

    async def _tell(self) -> None:
        self._changed.clear()
        now = datetime.now(tz=UTC)
        told = [
            {
                "worker": self._worker,
                "dependency": breaker.dependency,
                "state": breaker.state,
                "failures": breaker.failures,
                "retry_at": None
                if breaker.state == "closed"
                else now + timedelta(seconds=self._breakers.remaining(breaker.dependency)),
                "error": breaker.error,
            }
            for breaker in self._breakers.all
        ]
        if told:
            async with self._engine.begin() as connection:
                await connection.execute(TELL, told)
