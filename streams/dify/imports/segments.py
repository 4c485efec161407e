"""The steps of an import: they insert segments into an indexed document.

Ids depend on the document, the job and the number of the row only. So a repeated import finds its own rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, LockedDocument, lock_rows
from streams.dify.errors import BusyError, EmbeddingError, RefusedError, Stopped
from streams.dify.ids import import_node_id, segment_id, storable, text_hash
from streams.dify.imports.csv_rows import ImportRow
from streams.dify.indexing.pending_rows import complete_parents
from streams.dify.indexing.segment_rows import Row
from streams.dify.indexing.steps import missing_vectors_message
from streams.dify.indexing.target import RunTarget, dataset_embedder
from streams.dify.keywords.extract import DEFAULT_KEYWORDS
from streams.dify.keywords.table import complete_segments, set_enabled_entries
from streams.dify.models import ChildChunk, Document, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.reindexing.children import Parent, child_rows, child_rules
from streams.dify.reindexing.segments import Place
from streams.dify.sources.reference import StoredFile, stored_file
from streams.dify.splitting.forms import form_of
from streams.dify.splitting.piece import numbered
from streams.dify.splitting.rules import Segmentation
from streams.dify.vector_collections import collection_of

ROWS_PER_STEP = 500
"""The number of rows that one step inserts.

Another number would let an import that is under way while the version changes skip or repeat rows.
"""
_BUSY_SECONDS = 60.0
"""The time until an import into a document that is being indexed is tried again."""


class ImportTarget(RunTarget):
    """The segments of an import. They are rows of their own, whatever indexing has created the others."""

    __slots__ = ()

    async def _lock(self, session: AsyncSession) -> LockedDocument:
        return await lock_rows(session, self.run.dataset_id, self.run.document_id, self.run.tenant_id)


class ImportSource(NamedTuple):
    """What an event names besides the document."""

    job_id: str
    upload_file_id: str
    account_id: str
    """The person who imports: segments.created_by."""


@dataclass(frozen=True, slots=True)
class ImportJob:
    """The facts that the steps after `begin` need."""

    source: ImportSource
    target: ImportTarget
    file: StoredFile
    children: Segmentation | None


async def begin(session: AsyncSession, platform: Platform, place: Place, source: ImportSource) -> ImportJob:
    """Check the request.

    Args:
        session: the transaction of the step.
        platform: the services.
        place: the document.
        source: the job, its file and its person.

    Raises:
        Stopped: the document is deleted.
        BusyError: the document is being indexed.
        RefusedError: document or file are not the tenant's, or the document cannot get segments.
        UploadFileMissingError: the file has no row (yet).
    """
    locked = await lock_rows(session, *place)
    dataset, document = locked.dataset, locked.document
    _check_state(document)
    form = form_of(document.doc_form)
    started_at = await _started_at(session, document.id, source.job_id) or utc_now()
    target = ImportTarget(
        run=IndexingRun(document.tenant_id, dataset.id, document.id, started_at),
        form=form,
        collection=await collection_of(session, platform, dataset),
        keyword_number=dataset.keyword_number or DEFAULT_KEYWORDS,
        embedder=await dataset_embedder(session, platform, dataset),
        enabled=True,
    )
    file = await stored_file(session, source.upload_file_id, "the document", document.tenant_id)
    children = await child_rules(session, document, platform.largest_piece) if form == "hierarchical_model" else None
    return ImportJob(source, target, file, children)


def _check_state(document: Document) -> None:
    if document.archived or not document.enabled:
        message = f"the document is {'archived' if document.archived else 'disabled'}"
        raise RefusedError(message)
    if document.indexing_status == "completed":
        return
    if document.indexing_status == "error":
        message = "the document is not indexed: it has the status error"
        raise RefusedError(message)
    message = "the document is being indexed"
    raise BusyError(message, _BUSY_SECONDS)


def _first_ids(document_id: str, job_id: str) -> list[str]:
    return [segment_id(import_node_id(document_id, job_id, number)) for number in range(1, ROWS_PER_STEP + 1)]


async def _started_at(session: AsyncSession, document_id: str, job_id: str) -> datetime | None:
    """Return the created_at of the rows that an earlier attempt has inserted; None: there are none."""
    first = DocumentSegment.id.in_(_first_ids(document_id, job_id))
    found: datetime | None = await session.scalar(select(func.min(DocumentSegment.created_at)).where(first))
    return found


async def insert_rows(session: AsyncSession, job: ImportJob, rows: Sequence[ImportRow]) -> None:
    """Insert segments at the end of the document, unless an earlier attempt has inserted them. Raises Stopped.

    A segment that a person has deleted since then is not inserted again, unless all of the step's rows are deleted.

    The lock of the document's row keeps other imports from taking the same positions.
    """
    run = job.target.run
    locked = await lock_rows(session, run.dataset_id, run.document_id, run.tenant_id, for_update=True)
    document = locked.document
    nodes = [import_node_id(document.id, job.source.job_id, row.number) for row in rows]
    ids = [segment_id(node) for node in nodes]
    if await session.scalar(select(exists().where(DocumentSegment.id.in_(ids)))):
        return  # One transaction has inserted all of these rows. What is missing, a person has deleted since.
    last = await session.scalar(
        select(func.max(DocumentSegment.position)).where(DocumentSegment.document_id == document.id)
    )
    new = [
        _segment_row(job, row, node, (last or 0) + place)
        for place, (row, node) in enumerate(zip(rows, nodes, strict=True), start=1)
    ]
    children = [
        child
        for row, row_id in zip(rows, ids, strict=True)
        for child in child_rows(
            Parent(document, row_id, job.source.account_id, run.started_at), iter(numbered(row.children))
        )
    ]
    await session.execute(insert(DocumentSegment), new)
    if children:
        await session.execute(insert(ChildChunk), children)
    document.word_count = (document.word_count or 0) + sum(len(row.content) + len(row.answer or "") for row in rows)


def _segment_row(job: ImportJob, row: ImportRow, node: str, position: int) -> Row:
    run = job.target.run
    return {
        "id": segment_id(node),
        "tenant_id": run.tenant_id,
        "dataset_id": run.dataset_id,
        "document_id": run.document_id,
        "position": position,
        "content": row.content,
        "answer": row.answer,
        "word_count": len(row.content) + len(row.answer or ""),
        "tokens": row.tokens,
        "index_node_id": node,
        "index_node_hash": text_hash(row.content),
        "hit_count": 0,
        "enabled": False,
        "status": "indexing",
        "created_by": job.source.account_id,
        "created_at": run.started_at,
        "updated_at": run.started_at,
        "indexing_at": run.started_at,
    }


async def finish(session: AsyncSession, platform: Platform, job: ImportJob) -> None:
    """Complete the imported segments. Raises EmbeddingError that names those without a vector, and Stopped."""
    target, run = job.target, job.target.run
    await target.lock(session, platform)
    if target.embedder is None:
        await complete_segments(session, run)
        await set_enabled_entries(session, platform.storage, run)
        return
    if target.form == "hierarchical_model":
        await complete_parents(session, run, enabled=True)
    missing = await missing_vectors_message(session, run)
    if missing is not None:
        raise EmbeddingError(missing)


async def record_failure(session: AsyncSession, place: Place, job_id: str, error: str) -> None:
    """Give the imported segments that are not complete the status error. Raises RefusedError for another tenant."""
    try:
        await lock_rows(session, *place)
    except Stopped:
        return
    started_at = await _started_at(session, place.document_id, job_id)
    if started_at is not None:
        await session.execute(
            update(DocumentSegment)
            .where(
                DocumentSegment.document_id == place.document_id,
                DocumentSegment.created_at == started_at,
                DocumentSegment.completed_at.is_(None),
            )
            .values(status="error", error=storable(error), stopped_at=utc_now())
        )
