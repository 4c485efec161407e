"""Delete wins, and so do a pause and a newer request: a step of an indexing holds its rows, or stops."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, exists, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import Stopped
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment

_HELD = "held for an indexing"
"""Where a session, which is one transaction's, keeps what it has locked."""


@dataclass(frozen=True, slots=True)
class LockedDocument:
    """The rows of a document that is still there, locked until the transaction ends."""

    dataset: Dataset
    document: Document


@dataclass(frozen=True, slots=True)
class IndexingRun:
    """One indexing of a document, over all of its attempts.

    It is known by its start, documents.processing_started_at: segments and child chunks have it as their created_at.
    So what an indexing makes is told from what was there before it, which can be found until all of the new can.
    """

    tenant_id: str
    dataset_id: str
    document_id: str
    started_at: datetime

    @property
    def segments(self) -> ColumnElement[bool]:
        """The segments that it has made."""
        return (DocumentSegment.document_id == self.document_id) & (DocumentSegment.created_at == self.started_at)

    @property
    def former_segments(self) -> ColumnElement[bool]:
        """The document's other segments."""
        return (DocumentSegment.document_id == self.document_id) & (DocumentSegment.created_at != self.started_at)

    @property
    def children(self) -> ColumnElement[bool]:
        """The child chunks that it has made."""
        return self._children & (ChildChunk.created_at == self.started_at)

    @property
    def former_children(self) -> ColumnElement[bool]:
        """The document's other child chunks."""
        return self._children & (ChildChunk.created_at != self.started_at)

    @property
    def _children(self) -> ColumnElement[bool]:
        # The index on child_chunks begins with the tenant.
        return (
            (ChildChunk.tenant_id == self.tenant_id)
            & (ChildChunk.dataset_id == self.dataset_id)
            & (ChildChunk.document_id == self.document_id)
        )


class _Held(NamedTuple):
    generation: IndexingRun
    to_change: bool
    standing: LockedDocument


_STANDING = (
    select(Dataset, Document)
    .join(Document, Document.dataset_id == Dataset.id)
    .where(Dataset.id == bindparam("dataset_id"), Document.id == bindparam("document_id"))
    .execution_options(populate_existing=True)
)
_TO_READ = _STANDING.suffix_with(text("for key share of datasets for key share of documents"))
_TO_CHANGE = _STANDING.suffix_with(text("for key share of datasets for no key update of documents"))


async def lock_standing(
    session: AsyncSession, dataset_id: str, document_id: str, *, to_change: bool = False
) -> LockedDocument:
    """Lock the dataset's row, then the document's. DELETE of either waits until this transaction ends.

    With `to_change` others' updates of the document wait too, so that none is overwritten.
    Raises Stopped where a row is gone or the document is paused.
    """
    ids = {"dataset_id": dataset_id, "document_id": document_id}
    found = (await session.execute(_TO_CHANGE if to_change else _TO_READ, ids)).one_or_none()
    if found is None:
        stands = await session.scalar(select(exists().where(Dataset.id == dataset_id)))
        raise Stopped("the document is gone" if stands else "the dataset is gone")
    dataset, document = found
    if document.is_paused:
        message = "the document is paused"
        raise Stopped(message)
    return LockedDocument(dataset, document)


async def hold(session: AsyncSession, generation: IndexingRun, *, to_change: bool = False) -> LockedDocument:
    """`lock_standing` for a step of an indexing. Raises Stopped too where the document was asked for anew since.

    The platform asks anew by setting the row back to waiting; the request that it sends with that does the work.
    What a transaction has locked stays locked, so it is asked for once.
    """
    held: object = session.info.get(_HELD)
    if isinstance(held, _Held) and held.generation == generation and held.to_change >= to_change:
        return held.standing
    standing = await lock_standing(session, generation.dataset_id, generation.document_id, to_change=to_change)
    document = standing.document
    if document.indexing_status == "waiting" or document.processing_started_at != generation.started_at:
        message = "the document was asked for anew"
        raise Stopped(message)
    session.info[_HELD] = _Held(generation, to_change, standing)
    return standing
