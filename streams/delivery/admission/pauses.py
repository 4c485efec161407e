"""Topics and handlers that operators have paused. Stored in the database, so that a pause survives a restart."""

import asyncio
from collections.abc import Callable

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
REFRESH_INTERVAL = 1.0
"""Seconds between two queries."""

SELECT_PAUSES = text("select kind, name from streams.pauses")


class Pauses:
    """The pauses that one process knows, shared by its pools. Runs on the event loop."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._paused: frozenset[tuple[str, str]] = frozenset()
        self._listeners: list[Callable[[], None]] = []

    @property
    def any(self) -> bool:
        """Whether anything is paused. Cheap, because it is read for every delivery."""
        return bool(self._paused)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call the listener when the pauses have changed."""
        self._listeners.append(listener)

    def is_paused(self, topic: str, handler: str) -> bool:
        """Return whether a topic (its name on the cluster) or a handler is paused."""
        return ("topic", topic) in self._paused or ("handler", handler) in self._paused

    async def refresh(self) -> None:
        """Read the pauses from the database. Raises SQLAlchemyError or OSError if that fails."""
        async with self._engine.connect() as connection:
            rows: list[RowMapping] = list((await connection.execute(SELECT_PAUSES)).mappings())
        paused = frozenset((str(row["kind"]), str(row["name"])) for row in rows)
        if paused == self._paused:
            return
        for kind, name in paused - self._paused:
            log.info("paused", kind=kind, name=name)
        for kind, name in self._paused - paused:
            log.info("resumed", kind=kind, name=name)
        self._paused = paused
        for listener in self._listeners:
            listener()

    async def watch(self) -> None:
        """Refresh until cancelled. While the database is unavailable, the last known pauses stay in force."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL)
            try:
                await self.refresh()
            except (SQLAlchemyError, OSError) as error:
                log.debug("cannot read the pauses", error=message(error))
