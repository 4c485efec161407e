"""The steps for segments that were enabled, disabled or deleted."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, lock_rows
from streams.dify.errors import Stopped
from streams.dify.ids import segment_id, storable, valid_ids
from streams.dify.keywords.table import remove_nodes, set_enabled_entries
from streams.dify.models import ChildChunk, Dataset, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.reindexing.children import add_missing_children, give_nodes
from streams.dify.reindexing.target import StandingTarget, check_available, target_of
from streams.dify.sql import one_of
from streams.dify.tenancy import tenant_of_documents
from streams.dify.vector_collections import collections_of

SEGMENTS_PER_STEP = 1000
"""The number of segments that one step removes from the index."""


class Place(NamedTuple):
    """The document whose segments an event names."""

    dataset_id: str
    document_id: str
    tenant_id: str | None
    """None: the event names none."""


async def enable(
    session: AsyncSession, platform: Platform, place: Place, segment_ids: Sequence[str], keywords: list[str] | None
) -> StandingTarget:
    """Return what has to be loaded for enabled segments of an enabled document.

    Args:
        session: the transaction of the step.
        platform: the services.
        place: the document.
        segment_ids: the segments.
        keywords: the keywords that a person gave to them; None or empty: they are taken from the text.

    Raises:
        Stopped: the document is deleted, disabled or archived. It is loaded completely when it is enabled.
        RefusedError: the document is not the tenant's, or has no known form or model.
    """
    locked = await lock_rows(session, *place)
    check_available(locked.document)
    target = (await target_of(session, platform, locked)).only(segment_ids)
    await give_nodes(session, target.segments)
    if target.embedder is not None and target.form == "hierarchical_model":
        await add_missing_children(session, locked.document, target.segments, platform.largest_piece)
    if keywords:
        await session.execute(update(DocumentSegment).where(target.segments).values(keywords=keywords))
    return target


async def disable(session: AsyncSession, platform: Platform, place: Place, segment_ids: Sequence[str]) -> int:
    """Remove disabled segments from the index, with their child chunks. Returns the number of these segments.

    A segment that was enabled again stays in the index. The rows stay too, so that it can be enabled.

    Raises Stopped if the document is deleted, and RefusedError if it is not the tenant's.
    """
    locked = await lock_rows(session, *place)
    dataset, document = locked.dataset, locked.document
    named = _named(document.id, segment_ids) & (DocumentSegment.tenant_id == document.tenant_id)
    query = select(DocumentSegment.id, DocumentSegment.index_node_id).where(named, ~DocumentSegment.enabled)
    # One order everywhere, so that two transactions do not deadlock.
    rows = (await session.execute(query.order_by(DocumentSegment.id).with_for_update(key_share=True))).all()
    children = await session.scalars(
        select(ChildChunk.index_node_id).where(ChildChunk.segment_id.in_([row.id for row in rows]))
    )
    await _remove_nodes(session, platform, dataset, [*(row.index_node_id for row in rows), *children])
    if dataset.indexing_technique == "economy":
        started_at = document.processing_started_at or document.created_at
        run = IndexingRun(document.tenant_id, dataset.id, document.id, started_at)
        await set_enabled_entries(session, platform.storage, run)
    return len(rows)


class Gone(NamedTuple):
    """The ids in the index of deleted segments, and of their child chunks."""

    node_ids: Sequence[str]
    child_node_ids: Sequence[str]


async def remaining_row(session: AsyncSession, place: Place, gone: Gone) -> str | None:
    """Return the id of a named segment whose row (still) exists; None: all are deleted."""
    of_dataset = DocumentSegment.dataset_id == place.dataset_id
    named = select(DocumentSegment.id).where(of_dataset, DocumentSegment.index_node_id.in_(gone.node_ids))
    of_child = select(DocumentSegment.id).where(
        of_dataset,
        DocumentSegment.id == ChildChunk.segment_id,
        ChildChunk.dataset_id == place.dataset_id,
        ChildChunk.index_node_id.in_(gone.child_node_ids),
    )
    found: str | None = await session.scalar(named.limit(1)) or await session.scalar(of_child.limit(1))
    return found


async def clean(session: AsyncSession, platform: Platform, place: Place, gone: Gone) -> dict[str, int]:
    """Delete what deleted segments have left: vectors, keywords, child chunks and their vectors.

    Whatever state the document has, nothing is left. Nothing but the named nodes is deleted, and child chunks that have
    no segment. So an empty list deletes nothing.

    Raises RefusedError if something named is not the tenant's.
    """
    tenant_id = await tenant_of_documents(session, place.dataset_id, [place.document_id], place.tenant_id)
    dataset = await session.get(Dataset, place.dataset_id, with_for_update={"read": True, "key_share": True})
    chunks = await _orphaned_children(session, place, tenant_id)
    nodes = [*gone.node_ids, *gone.child_node_ids, *(node for _, node in chunks)]
    vectors = await _remove_nodes(session, platform, dataset or place.dataset_id, nodes)
    if chunks:
        await session.execute(delete(ChildChunk).where(ChildChunk.id.in_([row for row, _ in chunks])))
    keywords = 0
    if dataset is not None:
        keywords = await remove_nodes(session, platform.storage, dataset.tenant_id, dataset.id, gone.node_ids)
    return {"vectors": vectors, "child_chunks": len(chunks), "keyword nodes": keywords}


async def _orphaned_children(
    session: AsyncSession, place: Place, tenant_id: str | None
) -> list[tuple[str, str | None]]:
    """Return id and node id of child chunks of the document whose segment is deleted."""
    if tenant_id is None:
        return []
    of_document = (
        (ChildChunk.tenant_id == tenant_id)
        & (ChildChunk.dataset_id == place.dataset_id)
        & (ChildChunk.document_id == place.document_id)
    )
    orphaned = ~exists().where(DocumentSegment.id == ChildChunk.segment_id)
    query = select(ChildChunk.id, ChildChunk.index_node_id).where(of_document, orphaned)
    found = await session.execute(query.order_by(ChildChunk.id).limit(SEGMENTS_PER_STEP).with_for_update())
    return [(row, node) for row, node in found]


async def _remove_nodes(
    session: AsyncSession, platform: Platform, dataset: Dataset | str, nodes: Sequence[str | None]
) -> int:
    known = valid_ids(node for node in nodes if node is not None)
    if not known:
        return 0
    struct, binding = (
        (None, None) if isinstance(dataset, str) else (dataset.index_struct, dataset.collection_binding_id)
    )
    dataset_id = dataset if isinstance(dataset, str) else dataset.id
    removed = 0
    for collection in await collections_of(session, platform, dataset_id, struct, binding):
        removed += await platform.vectors.delete_nodes(session, collection, dataset_id, known)
    return removed


async def record_not_enabled(session: AsyncSession, place: Place, segment_ids: Sequence[str], error: str) -> None:
    """Disable segments that could not be loaded, with the status error, as the platform does."""
    if await _is_own(session, place):
        now = utc_now()
        await session.execute(
            update(DocumentSegment)
            .where(_named(place.document_id, segment_ids), DocumentSegment.enabled)
            .values(enabled=False, disabled_at=now, stopped_at=now, status="error", error=storable(error))
        )


async def record_not_disabled(session: AsyncSession, place: Place, segment_ids: Sequence[str]) -> None:
    """Enable segments that could not be removed from the index, as the platform does."""
    if await _is_own(session, place):
        disabled = _named(place.document_id, segment_ids) & ~DocumentSegment.enabled
        await session.execute(
            update(DocumentSegment)
            .where(disabled, DocumentSegment.disabled_at.is_not(None))
            .values(enabled=True, disabled_at=None, disabled_by=None)
        )


async def _is_own(session: AsyncSession, place: Place) -> bool:
    try:
        await lock_rows(session, *place)
    except Stopped:
        return False
    return True


def _named(document_id: str, segment_ids: Sequence[str]) -> ColumnElement[bool]:
    return (DocumentSegment.document_id == document_id) & one_of(DocumentSegment.id, segment_ids)


def own_segment_ids(node_ids: Sequence[str]) -> list[str]:
    """Return the ids that segments of these nodes have if they were made here. Other ids cannot be known."""
    return [segment_id(node) for node in node_ids]
