"""What operators have paused: topics and handlers, kept in the database, so that a pause outlives every restart."""

import asyncio
from collections.abc import Callable

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
LOOK_INTERVAL = 1.0
"""Seconds between two looks at what is paused."""
DEFERRAL = 15.0
"""Seconds until a delivery that is out of its topic's line is looked at again while its handler is paused."""

PAUSED = text("select kind, name from streams.pauses")


class Pauses:
    """One for all pools of a process. Lives on the event loop."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._paused: frozenset[tuple[str, str]] = frozenset()
        self._listeners: list[Callable[[], None]] = []

    @property
    def any(self) -> bool:
        """Whether anything is paused: looked at for every delivery, so it costs little."""
        return bool(self._paused)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call it when work that was held back may go on."""
        self._listeners.append(listener)

    def holds(self, topic: str, handler: str) -> bool:
        """Whether a topic (its name on the cluster) or a handler is paused."""
        return ("topic", topic) in self._paused or ("handler", handler) in self._paused

    async def look(self) -> None:
        """Learn what is paused now. Raises what the database raises."""
        async with self._engine.connect() as connection:
            rows: list[RowMapping] = list((await connection.execute(PAUSED)).mappings())
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
        """Look again and again; while the database is away what was paused stays so."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            try:
                await self.look()
            except (SQLAlchemyError, OSError) as error:
                log.debug("cannot look at what is paused", error=message(error))
