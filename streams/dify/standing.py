"""Delete wins, and so do a pause and a newer request: a step of an indexing holds its rows, or stops."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment


class Stopped(Exception):  # noqa: N818 - reads as what it is: `raise Stopped("the document is gone")`
    """There is nothing (more) to do, and that is no failure; the message says why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of a document that is still there, locked until the transaction ends."""

    dataset: Dataset
    document: Document


@dataclass(frozen=True, slots=True)
class Generation:
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


async def lock_standing(
    session: AsyncSession, dataset_id: str, document_id: str, *, to_change: bool = False
) -> Standing:
    """Lock the dataset's row, then the document's. DELETE of either waits until this transaction ends.

    With `to_change` others' updates of the document wait too, so that none is overwritten.
    Raises Stopped where a row is gone or the document is paused.
    """
    dataset = await session.scalar(
        select(Dataset)
        .where(Dataset.id == dataset_id)
        .with_for_update(read=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    if dataset is None:
        message = "the dataset is gone"
        raise Stopped(message)
    document = await session.scalar(
        select(Document)
        .where(Document.id == document_id, Document.dataset_id == dataset_id)
        .with_for_update(read=not to_change, key_share=True)
        .execution_options(populate_existing=True)
    )
    if document is None:
        message = "the document is gone"
        raise Stopped(message)
    if document.is_paused:
        message = "the document is paused"
        raise Stopped(message)
    return Standing(dataset, document)


async def hold(session: AsyncSession, generation: Generation, *, to_change: bool = False) -> Standing:
    """`lock_standing` for a step of an indexing. Raises Stopped too where the document was asked for anew since.

    The platform asks anew by setting the row back to waiting; the request that it sends with that does the work.
    """
    standing = await lock_standing(session, generation.dataset_id, generation.document_id, to_change=to_change)
    document = standing.document
    if document.indexing_status == "waiting" or document.processing_started_at != generation.started_at:
        message = "the document was asked for anew"
        raise Stopped(message)
    return standing
