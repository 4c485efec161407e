"""Blocks work on the database while it does not answer. No attempt is counted meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
PROBE_INTERVAL = 0.5
"""Seconds between two probes of a database that did not answer."""
CONFLICT_RERUNS = 5
"""Uncounted reruns of a unit after a serialization failure or deadlock. The next one is a failed attempt."""
_OUTAGE_CLASSES = ("08", "53", "57P")
_CONFLICT_CODES = ("40001", "40P01")
_TIMEOUT_CODES = ("25P03", "25P04", "55P03")
"""Errors of the time-outs in `transaction.SET_TIMEOUTS`. The first two also close the connection, without an outage."""

DatabaseErrorKind = Literal["outage", "conflict", "timeout"]


def database_error_kind(error: BaseException) -> DatabaseErrorKind | None:
    """Return the kind of a database error; None: it is a failure of the delivery itself.

    outage: the database is unavailable. conflict: a serialization failure or deadlock; a rerun may succeed. timeout:
    the transaction or its wait for a lock took too long. For a handler that is a failed attempt; bookkeeping
    statements are retried.
    """
    if isinstance(error, PoolTimeoutError):
        return "outage"
    if not isinstance(error, DBAPIError):
        return None
    code = getattr(error.orig, "sqlstate", None)
    if code in _CONFLICT_CODES:
        return "conflict"
    if code in _TIMEOUT_CODES:
        return "timeout"
    if error.connection_invalidated or (code is None and isinstance(error, OperationalError)):
        return "outage"
    return "outage" if code is not None and code.startswith(_OUTAGE_CLASSES) else None


class DatabaseGate:
    """Open while the database answers. It closes on an outage, probes in the background, and opens again."""

    def __init__(self, engine: AsyncEngine, report: Callable[[str | None], None] = lambda _error: None) -> None:
        """Create an open gate. `report` is called with the error of an outage, and with None when it is over."""
        self._engine = engine
        self._report = report
        self._open = asyncio.Event()
        self._open.set()
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the database answered last time."""
        return self._open.is_set()

    async def wait_until_open(self) -> None:
        """Return once the gate is open."""
        await self._open.wait()

    def trip(self, error: BaseException) -> None:
        """Close the gate after an outage and start to probe. Idempotent."""
        if self._open.is_set():
            log.warning("database does not answer; deliveries wait", error=message(error))
            self._open.clear()
            self._report(message(error))
            self._probe = asyncio.create_task(self._probe_until_available())

    async def _probe_until_available(self) -> None:
        while True:
            await asyncio.sleep(PROBE_INTERVAL)
            try:
                async with self._engine.connect() as connection:
                    await connection.execute(text("select 1"))
            except Exception as error:  # noqa: BLE001 - a gate that stays closed would stop the whole worker
                log.debug("database still does not answer", error=message(error))
            else:
                log.info("database answers again")
                self._report(None)
                self._open.set()
                return

    async def close(self) -> None:
        """Stop the probe."""
        if self._probe is not None:
            self._probe.cancel()
