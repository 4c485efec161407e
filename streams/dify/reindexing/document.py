"""The steps for a document that was enabled or disabled, and for the end of loading one."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, LockedDocument
from streams.dify.errors import EmbeddingError, Stopped
from streams.dify.ids import storable
from streams.dify.keywords.table import remove_from_table, set_enabled_entries
from streams.dify.models import DatasetAutoDisableLog, Document, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.reindexing.target import StandingTarget, check_available, lock_by_id, target_of
from streams.dify.sql import affected_rows
from streams.dify.vector_collections import collections_of


class Removed(NamedTuple):
    """What the index of a disabled document has lost."""

    vectors: int
    segments: int


async def enable(session: AsyncSession, platform: Platform, document_id: str, tenant_id: str | None) -> StandingTarget:
    """Enable the segments of an enabled document, but not those that a person disabled.

    Args:
        session: the transaction of the step.
        platform: the services.
        document_id: the document.
        tenant_id: the tenant that the event names; None: it names none.

    Returns:
        What has to be loaded.

    Raises:
        Stopped: the document is deleted, or disabled or archived again.
        RefusedError: the document is not the tenant's, or has no known form or model.
    """
    locked = await lock_by_id(session, document_id, tenant_id, for_update=True)
    check_available(locked.document)
    target = await target_of(session, platform, locked)
    complete = (DocumentSegment.document_id == document_id) & (DocumentSegment.status == "completed")
    # A segment without this time was never enabled: an indexing in progress will do it.
    disabled = complete & ~DocumentSegment.enabled & DocumentSegment.disabled_at.is_not(None)
    if not await _disabled_together(session, complete):
        disabled &= DocumentSegment.disabled_by.is_(None)
    await session.execute(
        update(DocumentSegment)
        .where(disabled)
        .values(enabled=True, disabled_at=None, disabled_by=None, updated_at=utc_now())
    )
    await session.execute(
        delete(DatasetAutoDisableLog).where(
            DatasetAutoDisableLog.dataset_id == locked.dataset.id, DatasetAutoDisableLog.document_id == document_id
        )
    )
    return target


async def _disabled_together(session: AsyncSession, complete: ColumnElement[bool]) -> bool:
    """Return whether one statement has disabled all segments: the platform's, when a person disabled the document.

    It writes that person into each segment. A person who disables segments gives each its own time.
    """
    on = or_(DocumentSegment.enabled, DocumentSegment.disabled_at.is_(None))
    counted = await session.execute(
        select(func.count().filter(on), func.count(DocumentSegment.disabled_at.distinct())).where(complete)
    )
    others, times = counted.one()
    return bool(others == 0 and times == 1)


async def finish(
    session: AsyncSession, platform: Platform, target: StandingTarget, *, changed_technique: bool = False
) -> dict[str, int]:
    """End the loading of a document: complete its segments, write its keywords, and its status.

    Args:
        session: the transaction of the step.
        platform: the services.
        target: what was loaded.
        changed_technique: the dataset may have a keyword table that it does not use any more.

    Returns:
        The number of segments that the index has.

    Raises:
        EmbeddingError: some segments got no vector.
        Stopped: the document is deleted, disabled or archived.
    """
    document = (await target.lock(session, platform)).document
    missing = await target.describe_missing(session)
    if missing is not None:
        raise EmbeddingError(missing)
    if target.embedder is None:
        # Only now, since the table contains complete segments.
        await session.execute(
            update(DocumentSegment)
            .where(target.segments, DocumentSegment.status != "completed")
            .values(status="completed", completed_at=utc_now(), error=None, stopped_at=None)
        )
        await set_enabled_entries(session, platform.storage, target.run)
    elif changed_technique:
        await remove_from_table(session, platform.storage, target.run)
    whole = target.segment_ids is None
    if whole and document.indexing_status in {"indexing", "error"} and document.completed_at is not None:
        # It was complete before. An indexing in progress has no such time.
        document.indexing_status = "completed"
        document.error = document.stopped_at = None
    count = select(func.count()).select_from(DocumentSegment).where(target.segments)
    return {"segments": await session.scalar(count) or 0}


async def disable(session: AsyncSession, platform: Platform, document_id: str, tenant_id: str | None) -> Removed:
    """Remove a disabled or archived document from the index, and disable its segments.

    A segment that a person disabled keeps that person, so that it stays disabled when the document is enabled again.

    Raises Stopped if the document is deleted or enabled again, and RefusedError if it is not the tenant's.
    """
    locked = await lock_by_id(session, document_id, tenant_id, for_update=True)
    dataset, document = locked.dataset, locked.document
    if document.enabled and not document.archived:
        message = "the document is enabled"
        raise Stopped(message)
    # Segments before vectors, as everywhere, so that two transactions do not deadlock.
    now = utc_now()
    segments = await affected_rows(
        session,
        update(DocumentSegment)
        .where(DocumentSegment.document_id == document_id, DocumentSegment.enabled)
        .values(enabled=False, disabled_at=now, disabled_by=None, updated_at=now),
    )
    vectors = 0
    for collection in await collections_of(
        session, platform, dataset.id, dataset.index_struct, dataset.collection_binding_id
    ):
        vectors += await platform.vectors.delete_document(session, collection, dataset.id, document_id)
    if dataset.indexing_technique == "economy":
        await remove_from_table(session, platform.storage, _run(locked))
    return Removed(vectors, segments)


def _run(locked: LockedDocument) -> IndexingRun:
    document = locked.document
    started_at = document.processing_started_at or document.created_at
    return IndexingRun(document.tenant_id, document.dataset_id, document.id, started_at)


async def record_not_enabled(session: AsyncSession, document_id: str, tenant_id: str | None, error: str) -> None:
    """Disable a document that could not be loaded, as the platform does. A document that has changed since stays."""
    document = await _own(session, document_id, tenant_id)
    if document is not None and document.enabled and not document.archived:
        document.enabled = False
        document.disabled_at = document.stopped_at = utc_now()
        document.indexing_status, document.error = "error", storable(error)


async def record_not_disabled(session: AsyncSession, document_id: str, tenant_id: str | None) -> None:
    """Enable a document that could not be removed from the index, as the platform does, unless it is archived."""
    document = await _own(session, document_id, tenant_id)
    if document is not None and not document.enabled and not document.archived:
        document.enabled = True
        document.disabled_at = document.disabled_by = None


async def record_not_loaded(session: AsyncSession, document_id: str, tenant_id: str | None, error: str) -> None:
    """Record that a document could not be loaded after a change of its dataset. It can be retried from its status."""
    document = await _own(session, document_id, tenant_id)
    if document is not None and document.enabled and not document.archived:
        document.indexing_status, document.error, document.stopped_at = "error", storable(error), utc_now()


async def _own(session: AsyncSession, document_id: str, tenant_id: str | None) -> Document | None:
    """Lock and return a document; None if it is gone, or not the tenant's."""
    query = select(Document).where(Document.id == document_id).with_for_update(key_share=True)
    document = await session.scalar(query)
    return document if document is not None and tenant_id in {None, document.tenant_id} else None
