"""The rows of a document that get vectors: its segments, or the child chunks of a hierarchical document."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun
from streams.dify.ids import text_hash
from streams.dify.models import ChildChunk, DocumentSegment, utc_now
from streams.dify.splitting.forms import Form

_HAS_PENDING_CHILD = exists().where(ChildChunk.segment_id == DocumentSegment.id, ChildChunk.completed_at.is_(None))


class PendingId(NamedTuple):
    """The id of a row that has no vector yet."""

    row_id: str
    segment_id: str
    """The segment that the row is, or belongs to."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row that has no vector yet."""

    row_id: str
    segment_id: str
    """The segment that the row is, or belongs to."""
    node_id: str
    content: str
    content_hash: str
    position: int | None = None
    """The position of the segment in its document; None: it was deleted."""


async def list_pending(session: AsyncSession, form: Form, run: IndexingRun) -> list[PendingId]:
    """Return the ids of all rows without vectors, in document order. Only ids, because there may be many."""
    if form != "hierarchical_model":
        rows = await session.scalars(
            select(DocumentSegment.id)
            .where(run.segments, DocumentSegment.completed_at.is_(None))
            .order_by(DocumentSegment.position, DocumentSegment.id)
        )
        return [PendingId(row, row) for row in rows]
    children = await session.execute(
        select(ChildChunk.id, ChildChunk.segment_id)
        .join(DocumentSegment, DocumentSegment.id == ChildChunk.segment_id)
        .where(run.children, ChildChunk.completed_at.is_(None))
        .order_by(DocumentSegment.position, ChildChunk.position, ChildChunk.id)
    )
    parents: dict[str, str] = {}
    return [PendingId(row, parents.setdefault(segment, segment)) for row, segment in children]


async def load_pending_rows(session: AsyncSession, form: Form, missing: Sequence[PendingId]) -> tuple[PendingRow, ...]:
    """Return the rows of these ids, in order. A row that was deleted is left out."""
    model = ChildChunk if form == "hierarchical_model" else DocumentSegment
    query = select(model.id, model.index_node_id, model.content, DocumentSegment.position).where(
        model.id.in_([row.row_id for row in missing]), model.index_node_id.is_not(None)
    )
    if model is ChildChunk:
        query = query.outerjoin(DocumentSegment, DocumentSegment.id == ChildChunk.segment_id)
    found = await session.execute(query)
    known = {row_id: (node or "", content, position) for row_id, node, content, position in found}
    rows = []
    for row_id, segment_id in missing:
        if row_id in known:
            node, content, position = known[row_id]
            rows.append(PendingRow(row_id, segment_id, node, content, text_hash(content), position))
    return tuple(rows)


async def lock_existing(session: AsyncSession, form: Form, rows: Sequence[PendingRow]) -> Sequence[PendingRow]:
    """Return the rows that were not deleted since they were read. Their deletion waits for the end of the transaction.

    So the clean-up, which comes after the deletion, finds the vectors that the transaction writes.
    """
    model = ChildChunk if form == "hierarchical_model" else DocumentSegment
    query = select(model.id).where(model.id.in_([row.row_id for row in rows])).order_by(model.id)
    existing = set(await session.scalars(query.with_for_update(read=True, key_share=True)))
    return [row for row in rows if row.row_id in existing]


async def complete_rows(
    session: AsyncSession, form: Form, rows: Sequence[PendingRow], ended: Collection[str], *, enabled: bool
) -> None:
    """Mark rows as complete, and the segments that end with them.

    Args:
        session: the transaction of the step.
        form: the form of the document.
        rows: the rows that have their vectors now.
        ended: the segments of the rows that have no later rows. One with a failed child chunk is not completed.
        enabled: whether the completed segments can be found from now on.
    """
    now = utc_now()
    conditions: list[ColumnElement[bool]] = [DocumentSegment.id.in_(ended)]
    if form == "hierarchical_model":
        children = update(ChildChunk).where(ChildChunk.id.in_([row.row_id for row in rows]))
        await session.execute(children.values(completed_at=now, error=None))
        conditions.append(~_HAS_PENDING_CHILD)
    await session.execute(
        update(DocumentSegment)
        .where(*conditions)
        .values(status="completed", enabled=enabled, completed_at=now, error=None, stopped_at=None)
    )


async def complete_parents(session: AsyncSession, run: IndexingRun, *, enabled: bool) -> None:
    """Mark the segments as complete whose child chunks all have vectors, also if the last child chunk was deleted."""
    await session.execute(
        update(DocumentSegment)
        .where(run.segments, DocumentSegment.completed_at.is_(None), ~_HAS_PENDING_CHILD)
        .values(status="completed", enabled=enabled, completed_at=utc_now(), error=None, stopped_at=None)
    )


async def fail_row(session: AsyncSession, form: Form, row: PendingRow, error: str) -> None:
    """Record that a row gets no vector, and why. Its segment gets the status error."""
    if form == "hierarchical_model":
        await session.execute(update(ChildChunk).where(ChildChunk.id == row.row_id).values(error=error))
    await session.execute(
        update(DocumentSegment)
        .where(DocumentSegment.id == row.segment_id)
        .values(status="error", error=error, stopped_at=utc_now(), enabled=False)
    )


async def clear_failures(session: AsyncSession, form: Form, run: IndexingRun) -> None:
    """Clear the errors of a previous attempt, so that its rows are tried again."""
    if form == "hierarchical_model":
        await session.execute(
            update(ChildChunk)
            .where(run.children, ChildChunk.completed_at.is_(None), ChildChunk.error.is_not(None))
            .values(error=None)
        )
    await session.execute(
        update(DocumentSegment)
        .where(run.segments, DocumentSegment.status == "error")
        .values(status="indexing", error=None, stopped_at=None)
    )


async def pending_segments(session: AsyncSession, run: IndexingRun, limit: int) -> tuple[int, list[tuple[int, str]]]:
    """Return the number of incomplete segments, and position and reason of the first `limit` of them."""
    pending = run.segments & DocumentSegment.completed_at.is_(None)
    count = await session.scalar(select(func.count()).select_from(DocumentSegment).where(pending))
    if not count:
        return 0, []
    rows = await session.execute(
        select(DocumentSegment.position, DocumentSegment.error)
        .where(pending)
        .order_by(DocumentSegment.position)
        .limit(limit)
    )
    return count, [(position, error or "its vector is missing") for position, error in rows]
