"""Locks the rows of a document for one step of an indexing.

A step stops when the document was deleted, paused or requested again. These changes win over a running indexing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, exists, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import PipelineDocumentError, Stopped
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment
from streams.dify.tenancy import of_event, one_tenant

_LOCK_KEY = "lock for an indexing"
"""The key of the lock in `session.info`. A session serves one transaction only."""
PIPELINE = "rag_pipeline"
"""The runtime_mode of datasets whose documents the platform indexes in a pipeline of its own."""


@dataclass(frozen=True, slots=True)
class LockedDocument:
    """The rows of a document that exists, locked until the transaction ends."""

    dataset: Dataset
    document: Document


@dataclass(frozen=True, slots=True)
class IndexingRun:
    """One indexing of a document, over all of its attempts.

    Its start time identifies it: documents.processing_started_at. Segments and child chunks have the same time as their
    created_at. This separates the rows of this indexing from the rows of earlier ones, which stay searchable until all
    new rows are searchable.
    """

    tenant_id: str
    dataset_id: str
    document_id: str
    started_at: datetime

    @property
    def segments(self) -> ColumnElement[bool]:
        """A condition that selects the segments that this run created."""
        return (DocumentSegment.document_id == self.document_id) & (DocumentSegment.created_at == self.started_at)

    @property
    def previous_segments(self) -> ColumnElement[bool]:
        """A condition that selects the document's other segments."""
        return (DocumentSegment.document_id == self.document_id) & (DocumentSegment.created_at != self.started_at)

    @property
    def children(self) -> ColumnElement[bool]:
        """A condition that selects the child chunks that this run created."""
        return self._children & (ChildChunk.created_at == self.started_at)

    @property
    def previous_children(self) -> ColumnElement[bool]:
        """A condition that selects the document's other child chunks."""
        return self._children & (ChildChunk.created_at != self.started_at)

    @property
    def _children(self) -> ColumnElement[bool]:
        # The index on child_chunks begins with the tenant.
        return (
            (ChildChunk.tenant_id == self.tenant_id)
            & (ChildChunk.dataset_id == self.dataset_id)
            & (ChildChunk.document_id == self.document_id)
        )


class _Lock(NamedTuple):
    run: IndexingRun
    for_update: bool
    locked: LockedDocument


_ROWS = (
    select(Dataset, Document)
    .join(Document, Document.dataset_id == Dataset.id)
    .where(Dataset.id == bindparam("dataset_id"), Document.id == bindparam("document_id"))
    .execution_options(populate_existing=True)
)
_FOR_READ = _ROWS.suffix_with(text("for key share of datasets for key share of documents"))
_FOR_UPDATE = _ROWS.suffix_with(text("for key share of datasets for no key update of documents"))


async def lock_document(
    session: AsyncSession, dataset_id: str, document_id: str, tenant_id: str | None, *, for_update: bool = False
) -> LockedDocument:
    """Lock the dataset's row, then the document's row. A DELETE of either row waits until this transaction ends.

    Args:
        session: the transaction that holds the locks.
        dataset_id: the dataset of the document.
        document_id: the document.
        tenant_id: the tenant that the request names; None: it names none.
        for_update: also let other updates of the document wait, so that no update is overwritten.

    Raises:
        Stopped: a row was deleted, or the document is paused.
        ForeignTenantError: dataset, document and request are not of one tenant.
        PipelineDocumentError: the platform indexes the document itself.
    """
    locked = await lock_rows(session, dataset_id, document_id, tenant_id, for_update=for_update)
    if locked.dataset.runtime_mode == PIPELINE:
        message = "the dataset is made by a pipeline of the platform, which indexes its documents itself"
        raise PipelineDocumentError(message)
    if locked.document.is_paused:
        message = "the document is paused"
        raise Stopped(message)
    return locked


async def lock_rows(
    session: AsyncSession, dataset_id: str, document_id: str, tenant_id: str | None, *, for_update: bool = False
) -> LockedDocument:
    """Lock the rows as `lock_document` does, also those of a paused document and of a pipeline's document.

    Args:
        session: the transaction that holds the locks.
        dataset_id: the dataset of the document.
        document_id: the document.
        tenant_id: the tenant that the request names; None: it names none.
        for_update: also let other updates of the document wait, so that no update is overwritten.

    Raises:
        Stopped: a row was deleted.
        ForeignTenantError: dataset, document and request are not of one tenant.
    """
    parameters = {"dataset_id": dataset_id, "document_id": document_id}
    found = (await session.execute(_FOR_UPDATE if for_update else _FOR_READ, parameters)).one_or_none()
    if found is None:
        dataset_exists = await session.scalar(select(exists().where(Dataset.id == dataset_id)))
        raise Stopped("the document is gone" if dataset_exists else "the dataset is gone")
    dataset, document = found
    one_tenant(of_event(tenant_id), ("the dataset", dataset.tenant_id), ("the document", document.tenant_id))
    return LockedDocument(dataset, document)


async def lock_for_run(session: AsyncSession, run: IndexingRun, *, for_update: bool = False) -> LockedDocument:
    """Lock the rows as `lock_document` does, for a step of an indexing.

    The platform requests an indexing again by setting the status back to waiting. The event that it publishes with that
    update does the work, so this run has to stop. A lock lasts until the transaction ends, so the rows are locked once
    per transaction.

    Args:
        session: the transaction that holds the locks.
        run: the indexing that the step belongs to.
        for_update: also let other updates of the document wait, so that no update is overwritten.

    Raises:
        Stopped: a row was deleted, the document is paused, or the document was requested again.
    """
    lock: object = session.info.get(_LOCK_KEY)
    if isinstance(lock, _Lock) and lock.run == run and lock.for_update >= for_update:
        return lock.locked
    locked = await lock_document(session, run.dataset_id, run.document_id, run.tenant_id, for_update=for_update)
    document = locked.document
    if document.indexing_status == "waiting" or document.processing_started_at != run.started_at:
        message = "the document was requested again"
        raise Stopped(message)
    session.info[_LOCK_KEY] = _Lock(run, for_update, locked)
    return locked
