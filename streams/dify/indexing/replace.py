"""Replaces the previous segments of a document. They stay searchable until all new segments are complete.

One short step switches from the previous to the new segments. Then bounded steps delete the previous rows. Vectors are
deleted first, so that after a crash the rows still contain the ids of the vectors.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import lock_for_run
from streams.dify.indexing.steps import Job, check_loaded, unfinished
from streams.dify.keywords.table import add_to_table, complete_segments, remove_from_table
from streams.dify.models import ChildChunk, DocumentSegment
from streams.dify.platform import Platform
from streams.dify.uploads.images import delete_previous_images

REMOVE_BATCH = 1000
"""The number of segments or child chunks that one step deletes."""


async def switch_segments(session: AsyncSession, platform: Platform, job: Job) -> None:
    """Make the new segments searchable and the previous ones not, in one transaction.

    Raises EmbeddingError if some new segments have no vector, and Stopped.
    """
    run = job.run
    await lock_for_run(session, run)
    if job.embedder is None:
        await add_to_table(session, platform.storage, run)
        await complete_segments(session, run)
    else:
        await check_loaded(session, job)
        await remove_from_table(session, platform.storage, run)
        await session.execute(update(DocumentSegment).where(run.segments).values(enabled=True))
    if job.replaces:
        await session.execute(
            update(DocumentSegment)
            .where(run.previous_segments)
            .values(enabled=False, disabled_at=None, status="re_segment")
        )


async def remove_unfinished(session: AsyncSession, platform: Platform, job: Job) -> bool:
    """Delete some rows of an indexing that never ended and was never searchable. Returns True if there may be more."""
    return await _remove(session, platform, job, unfinished(job.run))


async def remove_previous(session: AsyncSession, platform: Platform, job: Job) -> bool:
    """Delete some previous images and segments, which are no longer searchable. Returns True if there may be more.

    Segments are deleted last. While one exists, the next attempt knows that there is something to delete.
    """
    await lock_for_run(session, job.run)
    if await delete_previous_images(session, platform.storage, job.run):
        return True
    return await _remove(session, platform, job, job.run.previous_segments)


async def _remove(session: AsyncSession, platform: Platform, job: Job, condition: ColumnElement[bool]) -> bool:
    await lock_for_run(session, job.run)
    parents = select(DocumentSegment.id).where(condition)
    children = await session.execute(
        select(ChildChunk.id, ChildChunk.index_node_id).where(ChildChunk.segment_id.in_(parents)).limit(REMOVE_BATCH)
    )
    if found := children.all():
        await _remove_nodes(session, platform, job, [node for _, node in found])
        await session.execute(delete(ChildChunk).where(ChildChunk.id.in_([row for row, _ in found])))
        return True
    segments = await session.execute(
        select(DocumentSegment.id, DocumentSegment.index_node_id).where(condition).limit(REMOVE_BATCH)
    )
    rows = segments.all()
    await _remove_nodes(session, platform, job, [node for _, node in rows])
    await session.execute(delete(DocumentSegment).where(DocumentSegment.id.in_([row for row, _ in rows])))
    return len(rows) == REMOVE_BATCH


async def _remove_nodes(session: AsyncSession, platform: Platform, job: Job, nodes: Sequence[str | None]) -> None:
    known = [node for node in nodes if node is not None]
    if known:
        await platform.vectors.delete_nodes(session, job.collection, job.run.dataset_id, known)
