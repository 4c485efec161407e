"""Asks again for documents that sit unfinished and that nothing under way could name.

What is on Kafka tells nothing of its documents, so a document is watched: when it is first seen stranded the ends of
the topics that could name it are noted, and once all below them is settled, and it is stranded still, nothing names it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from schemas import DocumentIndexCreated, DocumentIndexRequested, DocumentSyncRequested
from streams.codec import Codec
from streams.dify.indexing.stuck import StuckDocument, find_stranded
from streams.observability.logs import get_logger
from streams.observability.metrics import Lag
from streams.operations.lag import group_lag
from streams.publishing.outbox.outbox import Outbox
from streams.settings import Settings
from streams.topics import Catalogue

log = get_logger(__name__)
AT_ONCE = 50
"""Documents that one look asks for again at most, and records that may be unread: more would flood a backlog."""
LOOKER = text("select pg_try_advisory_lock(hashtext(:name))")
UNLOCK = text("select pg_advisory_unlock_all()")
_NAMING = (DocumentIndexRequested, DocumentIndexCreated, DocumentSyncRequested)


@dataclass(frozen=True, slots=True)
class Watched:
    """Documents that looked stranded when these were the ends of the partitions that could name them."""

    documents: tuple[StuckDocument, ...]
    ends: dict[tuple[str, int], int]

    def unread(self, lags: list[Lag]) -> bool:
        """Whether anything that was there then is not settled yet."""
        return any(lag.current_offset < self.ends.get((lag.topic, lag.partition), 0) for lag in lags)


class StuckDocuments:
    """One worker looks, whichever holds the lock; the others find it taken."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        catalogue: Catalogue,
        codec: Codec,
        ask: Callable[[], list[Lag]] | None = None,
    ) -> None:
        """`ask` gives the groups' lag; None: asked of Kafka."""
        self._engine = engine
        self._settings = settings
        self._codec = codec
        self._ask = ask or (lambda: group_lag(settings, catalogue))
        topics = [catalogue.of(event) for event in _NAMING]
        self._naming = {
            *(topic.name for topic in topics),
            *(tier for topic in topics for tier in catalogue.tiers(topic.pool)),
        }
        self._lock: AsyncConnection | None = None
        self._watched: Watched | None = None

    async def look(self) -> int:
        """Ask again for what is stranded for certain, watch what may be; returns how many were asked for."""
        if not await self._alone():
            return 0
        # Before the documents are looked for: what is published after this is no older request.
        lags = [lag for lag in await asyncio.to_thread(self._ask) if lag.topic in self._naming]
        watched, asked = self._watched, 0
        if watched is not None and not watched.unread(lags) and sum(lag.lag for lag in lags) < AT_ONCE:
            asked = await self._ask_again([document.id for document in watched.documents])
            watched = None
        if watched is None:
            async with AsyncSession(self._engine) as session:
                found = await find_stranded(session, self._settings.stranded_after, AT_ONCE)
            ends = {(lag.topic, lag.partition): lag.end_offset for lag in lags}
            watched = Watched(tuple(found), ends) if found else None
        self._watched = watched
        return asked

    async def close(self) -> None:
        """Let another worker look."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(SQLAlchemyError):
                await lock.execute(UNLOCK)
            # Closed for good: should it hold the lock still, it must not go back into the pool.
            await lock.invalidate()
            await lock.close()

    async def _alone(self) -> bool:
        """Whether this process is the one that looks: the lock lasts as long as its connection."""
        if self._lock is not None:
            try:
                await self._lock.execute(text("select 1"))
                await self._lock.commit()
            except Exception:
                self._watched = None
                await self.close()
                raise
            return True
        connection = await self._engine.connect()
        name = f"{self._settings.application}: stranded documents"
        held = bool((await connection.execute(LOOKER, {"name": name})).scalar())
        await connection.commit()
        if not held:
            await connection.close()
            return False
        self._lock = connection
        return True

    async def _ask_again(self, ids: list[str]) -> int:
        async with AsyncSession(self._engine) as session, session.begin():
            still = await find_stranded(session, self._settings.stranded_after, AT_ONCE, only=ids)
            outbox = Outbox(session, self._codec)
            for document in still:
                outbox.publish(
                    DocumentIndexRequested(
                        tenant_id=document.tenant_id, dataset_id=document.dataset_id, document_id=document.id
                    )
                )
        if still:
            log.warning(
                "documents sat unfinished and nothing could go on with them: asked for again",
                documents=[document.id for document in still],
            )
        return len(still)
