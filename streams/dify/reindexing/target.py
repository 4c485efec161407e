"""The existing segments of a document that the index of its dataset must have."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, LockedDocument, lock_rows
from streams.dify.embedding.port import Embedder
from streams.dify.errors import Stopped
from streams.dify.ids import text_hash
from streams.dify.indexing.pending_rows import PendingId, PendingRow
from streams.dify.indexing.places import Places
from streams.dify.indexing.target import check_unchanged, dataset_embedder
from streams.dify.keywords.extract import DEFAULT_KEYWORDS
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.splitting.forms import Form, form_of
from streams.dify.sql import one_of
from streams.dify.vector_collections import collection_of

SEARCHABLE = DocumentSegment.enabled & (DocumentSegment.status == "completed")
"""A condition for the segments that the index must have."""
_LISTED = 3
"""The number of failed segments that an error message lists."""


@dataclass(frozen=True, slots=True)
class StandingTarget:
    """Segments of a document that stay as they are, while their vectors or keywords are written (again)."""

    run: IndexingRun
    form: Form
    collection: str
    keyword_number: int
    embedder: Embedder | None
    """None: the dataset is found by keywords."""
    segment_ids: tuple[str, ...] | None = None
    """Only these segments, also those that were never complete; None: all complete segments."""
    places: Places = field(default_factory=Places)
    """Empty: no column has the places, as on the platform."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why segments got no vector in this attempt. The rows do not record it: their former state may still be right."""

    def only(self, segment_ids: Sequence[str]) -> "StandingTarget":
        """Return the same target for some segments."""
        return replace(self, segment_ids=tuple(segment_ids))

    @property
    def _wanted(self) -> ColumnElement[bool]:
        of_document = (DocumentSegment.document_id == self.run.document_id) & (
            DocumentSegment.tenant_id == self.run.tenant_id
        )
        if self.segment_ids is None:
            return of_document & SEARCHABLE
        named = one_of(DocumentSegment.id, self.segment_ids)
        # A segment that an indexing in progress has hidden is not searchable, whatever names it.
        return of_document & named & DocumentSegment.enabled & (DocumentSegment.status != "re_segment")

    async def lock(self, session: AsyncSession, platform: Platform) -> LockedDocument:
        """Lock dataset and document. Raises Stopped and IndexChangedError."""
        locked = await self._lock(session)
        await check_unchanged(session, platform, locked.dataset, self.embedder)
        return locked

    async def _lock(self, session: AsyncSession) -> LockedDocument:
        locked = await lock_rows(session, self.run.dataset_id, self.run.document_id, self.run.tenant_id)
        check_available(locked.document)
        return locked

    async def pending(self, session: AsyncSession) -> Sequence[PendingId]:
        """Return the segments, or their child chunks, in document order."""
        await self._lock(session)
        if self.form != "hierarchical_model":
            rows = await session.scalars(
                select(DocumentSegment.id).where(self._wanted).order_by(DocumentSegment.position, DocumentSegment.id)
            )
            return [PendingId(row, row) for row in rows]
        children = await session.execute(
            select(ChildChunk.id, ChildChunk.segment_id)
            .join(DocumentSegment, DocumentSegment.id == ChildChunk.segment_id)
            .where(self._wanted)
            .order_by(DocumentSegment.position, DocumentSegment.id, ChildChunk.position, ChildChunk.id)
        )
        parents: dict[str, str] = {}
        return [PendingId(row, parents.setdefault(segment, segment)) for row, segment in children]

    async def unchanged(self, session: AsyncSession, rows: Sequence[PendingRow]) -> Sequence[PendingRow]:
        """Return the rows that still need these vectors, and lock them.

        A person may have disabled, changed or deleted a row since it was read. Then the vector must not be written.
        """
        parents = select(DocumentSegment.id, DocumentSegment.content).where(
            DocumentSegment.id.in_({row.segment_id for row in rows}), self._wanted
        )
        # One order everywhere, so that two transactions do not deadlock.
        found = await session.execute(parents.order_by(DocumentSegment.id).with_for_update(key_share=True))
        contents = {row.id: row.content for row in found}
        known = [row for row in rows if row.segment_id in contents]
        if self.form == "hierarchical_model":
            children = select(ChildChunk.id, ChildChunk.content).where(ChildChunk.id.in_([row.row_id for row in known]))
            found = await session.execute(children.order_by(ChildChunk.id).with_for_update(key_share=True))
            contents = {row.id: row.content for row in found}
        return [row for row in known if row.row_id in contents and text_hash(contents[row.row_id]) == row.content_hash]

    async def complete_rows(self, session: AsyncSession, rows: Sequence[PendingRow], ended: Collection[str]) -> None:
        """Mark rows as complete that were not: those of a segment that was just created."""
        now = utc_now()
        if self.form == "hierarchical_model":
            await session.execute(
                update(ChildChunk)
                .where(ChildChunk.id.in_([row.row_id for row in rows]), ChildChunk.completed_at.is_(None))
                .values(completed_at=now, error=None)
            )
        await session.execute(
            update(DocumentSegment)
            .where(DocumentSegment.id.in_(ended), DocumentSegment.status != "completed")
            .values(status="completed", completed_at=now, error=None, stopped_at=None)
        )

    async def fail_row(self, session: AsyncSession, row: PendingRow, error: str) -> None:  # noqa: ARG002 - of the protocol
        """Remember why a segment gets no vector."""
        self.failed.setdefault(row.segment_id, error)

    async def describe_missing(self, session: AsyncSession) -> str | None:
        """Return a message that names the segments that got no vector in this attempt."""
        if not self.failed:
            return None
        found = await session.execute(
            select(DocumentSegment.id, DocumentSegment.position)
            .where(DocumentSegment.id.in_(self.failed))
            .order_by(DocumentSegment.position)
            .limit(_LISTED)
        )
        named = "; ".join(f"segment {position}: {self.failed[segment_id]}" for segment_id, position in found)
        return f"{len(self.failed)} of the document's segments got no vector: {named}"

    async def without_keywords(self, session: AsyncSession) -> Sequence[str]:
        """Return the ids of the segments without keywords."""
        await self._lock(session)
        rows = await session.scalars(
            select(DocumentSegment.id)
            .where(self._wanted, DocumentSegment.keywords.is_(None))
            .order_by(DocumentSegment.position, DocumentSegment.id)
        )
        return list(rows)

    @property
    def segments(self) -> ColumnElement[bool]:
        """A condition for the segments of this target."""
        return self._wanted


def check_available(document: Document) -> None:
    """Raise Stopped if the document is disabled or archived: the index must not have it."""
    if not document.enabled or document.archived:
        message = "the document is archived" if document.archived else "the document is disabled"
        raise Stopped(message)


def check_technique(dataset: Dataset) -> None:
    """Raise Stopped if the dataset has no index, as an external one."""
    if dataset.indexing_technique not in {"high_quality", "economy"}:
        message = "the dataset has no index"
        raise Stopped(message)


async def target_of(session: AsyncSession, platform: Platform, locked: LockedDocument) -> StandingTarget:
    """Return the target of a locked document. Raises Stopped, and RefusedError for an unknown form or model."""
    dataset, document = locked.dataset, locked.document
    check_technique(dataset)
    started_at = document.processing_started_at or document.created_at
    return StandingTarget(
        run=IndexingRun(document.tenant_id, dataset.id, document.id, started_at),
        form=form_of(document.doc_form),
        collection=await collection_of(session, platform, dataset),
        keyword_number=dataset.keyword_number or DEFAULT_KEYWORDS,
        embedder=await dataset_embedder(session, platform, dataset),
    )


async def lock_by_id(
    session: AsyncSession, document_id: str, tenant_id: str | None, *, for_update: bool = False
) -> LockedDocument:
    """Lock a document whose dataset the event does not name. Raises the errors of `lock_rows`."""
    dataset_id = await session.scalar(select(Document.dataset_id).where(Document.id == document_id))
    if dataset_id is None:
        message = "the document is gone"
        raise Stopped(message)
    return await lock_rows(session, dataset_id, document_id, tenant_id, for_update=for_update)


async def is_foreign(session: AsyncSession, document_id: str, tenant_id: str | None) -> bool:
    """Return whether a document exists and is another tenant's than the event's."""
    owner = await session.scalar(select(Document.tenant_id).where(Document.id == document_id))
    return owner is not None and tenant_id not in {None, owner}
