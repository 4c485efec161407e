"""Requests the indexing of stuck documents again: they are unfinished, and no record in progress names them.

Nothing on Kafka says which documents it will name, so each document is observed. When it first looks stuck, the end
offsets of all topics that could name it are stored. Once all records before these offsets are settled and the document
is still stuck, no record names it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from schemas import DocumentIndexCreated, DocumentIndexRequested, DocumentSyncRequested
from streams.codec import Codec
from streams.dify.indexing.stuck import StuckDocument, find_stuck_documents
from streams.observability.logs import get_logger
from streams.observability.metrics import Lag
from streams.operations.lag import LagReading, group_lag
from streams.publishing.outbox.outbox import Outbox
from streams.settings import Settings
from streams.topics import Catalogue

log = get_logger(__name__)
BATCH = 50
"""The maximum number of documents requested at once, and of unread records before that: more would add to a backlog."""
TAKE_LEASE = text(
    """
    insert into streams.leases as l (resource, token, until, event_id, handler)
    values (:resource, :token, clock_timestamp() + make_interval(secs => :seconds), :event_id, 'stuck-documents')
    on conflict (resource) do update set token = excluded.token, until = excluded.until
    where l.until < clock_timestamp() or l.token = excluded.token
    returning l.token
    """
)
"""Takes or extends the lease. A session's lock would not work with a connection pooler in transaction mode."""
RELEASE_LEASE = text("delete from streams.leases where resource = :resource and token = :token")
NO_EVENT = UUID(int=0)
_NAMING_EVENTS = (DocumentIndexRequested, DocumentIndexCreated, DocumentSyncRequested)


@dataclass(frozen=True, slots=True)
class ObservedDocuments:
    """Documents that looked stuck, and the end offsets at that time of the partitions that could name them."""

    documents: tuple[StuckDocument, ...]
    ends: dict[tuple[str, int], int]

    def has_unread(self, lags: list[Lag]) -> bool:
        """Return True if a record before the end offsets is not settled yet, as far as that is known."""
        settled = {(lag.topic, lag.partition): lag.current_offset for lag in lags}
        return any(settled.get(place, 0) < end for place, end in self.ends.items())


class StuckDocuments:
    """Checks for stuck documents in one worker: the one that holds the lease.

    The lease lasts `stranded_after`, several times as long as the pause between two checks.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        catalogue: Catalogue,
        codec: Codec,
        read_lag: Callable[[], LagReading] | None = None,
    ) -> None:
        """Create the check.

        Args:
            engine: The bookkeeping connections.
            settings: From which age a document counts as stuck.
            catalogue: The topics that can name documents.
            codec: The codec for the requests.
            read_lag: Returns the groups' lag. None: it is read from Kafka.
        """
        self._engine = engine
        self._settings = settings
        self._codec = codec
        self._read_lag = read_lag or (lambda: group_lag(settings, catalogue))
        topics = [catalogue.of(event) for event in _NAMING_EVENTS]
        self._event_topics = [topic.name for topic in topics]
        self._naming_topics = {
            *(topic.name for topic in topics),
            *(tier for topic in topics for tier in catalogue.tiers(topic.pool)),
        }
        self._lease: Mapping[str, object] = {
            "resource": f"{settings.application}: stuck documents",
            "token": uuid4(),
        }
        self._observed: ObservedDocuments | None = None

    async def check(self) -> int:
        """Request stuck documents again, and observe those that look stuck. Returns how many were requested.

        Raises BrokersUnreachableError, and KafkaRefusedError if the lag of a partition is unknown that could name
        documents: one of its records may be the work of a document. What was observed is kept.
        """
        if not await self._has_lease():
            self._observed = None
            return 0
        # Read the lag before the documents: records that are published later name no older request.
        reading = await asyncio.to_thread(self._read_lag)
        for unknown in reading.unknown:
            if unknown.topic in self._naming_topics:
                raise unknown.error
        lags = [lag for lag in reading.lags if lag.topic in self._naming_topics]
        observed, requested = self._observed, 0
        if observed is not None and not observed.has_unread(lags) and sum(lag.lag for lag in lags) < BATCH:
            requested = await self._request_again([document.id for document in observed.documents])
            observed = None
        if observed is None:
            async with AsyncSession(self._engine) as session:
                found = await self._find(session)
            ends = {(lag.topic, lag.partition): lag.end_offset for lag in lags}
            observed = ObservedDocuments(tuple(found), ends) if found else None
        self._observed = observed
        return requested

    async def close(self) -> None:
        """Release the lease, so that another worker can check. Without a database it expires."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            async with self._engine.begin() as connection:
                await connection.execute(RELEASE_LEASE, self._lease)

    async def _has_lease(self) -> bool:
        """Return True if this process holds the lease, which is extended."""
        values = {**self._lease, "seconds": self._settings.stranded_after, "event_id": NO_EVENT}
        async with self._engine.begin() as connection:
            return (await connection.execute(TAKE_LEASE, values)).first() is not None

    async def _find(self, session: AsyncSession, only: list[str] | None = None) -> list[StuckDocument]:
        after, since = self._settings.stranded_after, self._settings.stranded_since
        topics = self._event_topics
        return await find_stuck_documents(session, after, BATCH, topics=topics, since=since, only=only)

    async def _request_again(self, ids: list[str]) -> int:
        async with AsyncSession(self._engine) as session, session.begin():
            still = await self._find(session, only=ids)
            outbox = Outbox(session, self._codec)
            for document in still:
                outbox.publish(
                    DocumentIndexRequested(
                        tenant_id=document.tenant_id, dataset_id=document.dataset_id, document_id=document.id
                    )
                )
        if still:
            log.warning(
                "unfinished documents were stuck; their indexing is requested again",
                documents=[document.id for document in still],
            )
        return len(still)
