"""Whether the database answers: while it does not, work on it waits and no attempt is burned."""

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
"""Seconds between two questions to a database that did not answer."""
CONFLICT_RERUNS = 5
"""Times that a unit is run again after a serialization failure or deadlock, uncounted, before it is a failure."""
_OUTAGE_CLASSES = ("08", "53", "57P")
_CONFLICT_CODES = ("40001", "40P01")
_HELD_UP_CODES = ("25P03", "25P04", "55P03")
"""Ended by the limits of `transaction.bound`; the first two end the connection too, but no outage is behind them."""

Trouble = Literal["outage", "conflict", "held up"]


def trouble(error: BaseException) -> Trouble | None:
    """What kind of the database's errors this is; None: the delivery's own.

    outage: it is away. conflict: a lost race that a rerun settles. held up: the transaction or its wait for a row took
    too long: a handler's own failure, but no reason for the engine's bookkeeping to give up.
    """
    if isinstance(error, PoolTimeoutError):
        return "outage"
    if not isinstance(error, DBAPIError):
        return None
    code = getattr(error.orig, "sqlstate", None)
    if code in _CONFLICT_CODES:
        return "conflict"
    if code in _HELD_UP_CODES:
        return "held up"
    if error.connection_invalidated or (code is None and isinstance(error, OperationalError)):
        return "outage"
    return "outage" if code is not None and code.startswith(_OUTAGE_CLASSES) else None


class DatabaseGate:
    """Open while the database answers. Closes on an outage, asks on its own until it answers, opens again."""

    def __init__(self, engine: AsyncEngine, tell: Callable[[str | None], None] = lambda _error: None) -> None:
        """`tell` hears why the database does not answer, and None when it does again."""
        self._engine = engine
        self._tell = tell
        self._open = asyncio.Event()
        self._open.set()
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the database answered when it was last heard of."""
        return self._open.is_set()

    async def passed(self) -> None:
        """Return once the gate is open."""
        await self._open.wait()

    def trip(self, error: BaseException) -> None:
        """Close after an outage; harmless where it is closed already."""
        if self._open.is_set():
            log.warning("database does not answer, work on it waits", error=message(error))
            self._open.clear()
            self._tell(message(error))
            self._probe = asyncio.create_task(self._ask_until_it_answers())

    async def _ask_until_it_answers(self) -> None:
        while True:
            await asyncio.sleep(PROBE_INTERVAL)
            try:
                async with self._engine.connect() as connection:
                    await connection.execute(text("select 1"))
            except Exception as error:  # noqa: BLE001 - whatever it is, a gate that nobody opens stalls everything
                log.debug("database still does not answer", error=message(error))
            else:
                log.info("database answers again")
                self._tell(None)
                self._open.set()
                return

    async def close(self) -> None:
        """End the questions."""
        if self._probe is not None:
            self._probe.cancel()
