"""What an indexing before this one has left: it can be found until all of the new can, and goes after that.

A former segment stays as it is while the new ones are made. One short step then switches from the former to the new;
bounded steps remove the former rows, vectors first, so that a crash leaves the ids of what is still to remove.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import hold
from streams.dify.indexing.steps import Job, check_loaded, unfinished
from streams.dify.keywords.table import complete_segments, put_document, take_document
from streams.dify.models import ChildChunk, DocumentSegment
from streams.dify.platform import Platform
from streams.dify.uploads.images import delete_former_images

REMOVED_AT_ONCE = 1000
"""Segments or child chunks that one step removes."""


async def switch(session: AsyncSession, platform: Platform, job: Job) -> None:
    """From here on the new segments are found, and the former are not: both with this transaction.

    Raises EmbeddingError where some of the new have no vector, Stopped.
    """
    generation = job.generation
    await hold(session, generation)
    if job.embedder is None:
        await put_document(session, platform.storage, generation)
        await complete_segments(session, generation)
    else:
        await check_loaded(session, job)
        await take_document(session, platform.storage, generation)
        await session.execute(update(DocumentSegment).where(generation.segments).values(enabled=True))
    if job.replaces:
        await session.execute(
            update(DocumentSegment)
            .where(generation.former_segments)
            .values(enabled=False, disabled_at=None, status="re_segment")
        )


async def remove_unfinished(session: AsyncSession, platform: Platform, job: Job) -> bool:
    """Some of what an indexing that never ended has left, and nobody could find yet. True: there may be more."""
    return await _remove(session, platform, job, unfinished(job.generation))


async def remove_former(session: AsyncSession, platform: Platform, job: Job) -> bool:
    """Some of the former images and segments, which are found no more. True: there may be more.

    The segments last: as long as there is one, the next attempt knows that there is something to remove.
    """
    await hold(session, job.generation)
    if await delete_former_images(session, platform.storage, job.generation):
        return True
    return await _remove(session, platform, job, job.generation.former_segments)


async def _remove(session: AsyncSession, platform: Platform, job: Job, doomed: ColumnElement[bool]) -> bool:
    await hold(session, job.generation)
    parents = select(DocumentSegment.id).where(doomed)
    children = await session.execute(
        select(ChildChunk.id, ChildChunk.index_node_id).where(ChildChunk.segment_id.in_(parents)).limit(REMOVED_AT_ONCE)
    )
    if found := children.all():
        await _remove_nodes(session, platform, job, [node for _, node in found])
        await session.execute(delete(ChildChunk).where(ChildChunk.id.in_([row for row, _ in found])))
        return True
    segments = await session.execute(
        select(DocumentSegment.id, DocumentSegment.index_node_id).where(doomed).limit(REMOVED_AT_ONCE)
    )
    rows = segments.all()
    await _remove_nodes(session, platform, job, [node for _, node in rows])
    await session.execute(delete(DocumentSegment).where(DocumentSegment.id.in_([row for row, _ in rows])))
    return len(rows) == REMOVED_AT_ONCE


async def _remove_nodes(session: AsyncSession, platform: Platform, job: Job, nodes: Sequence[str | None]) -> None:
    known = [node for node in nodes if node is not None]
    if known:
        await platform.vectors.delete_nodes(session, job.collection, known)
