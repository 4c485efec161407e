"""The rows of a document that get vectors: its segments or, in a hierarchical document, their child chunks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun
from streams.dify.ids import text_hash
from streams.dify.models import ChildChunk, DocumentSegment, utc_now
from streams.dify.splitting.forms import Form

_HAS_BARE_CHILD = exists().where(ChildChunk.segment_id == DocumentSegment.id, ChildChunk.completed_at.is_(None))


class Missing(NamedTuple):
    """A row without its vector, by its id."""

    row_id: str
    segment_id: str
    """The segment that the row is, or belongs to."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row without its vector."""

    row_id: str
    segment_id: str
    """The segment that the row is, or belongs to."""
    node_id: str
    content: str
    content_hash: str


async def missing_rows(session: AsyncSession, form: Form, generation: IndexingRun) -> list[Missing]:
    """All rows without vectors, in the document's order; ids alone, so that they may be many."""
    if form != "hierarchical_model":
        rows = await session.scalars(
            select(DocumentSegment.id)
            .where(generation.segments, DocumentSegment.completed_at.is_(None))
            .order_by(DocumentSegment.position, DocumentSegment.id)
        )
        return [Missing(row, row) for row in rows]
    children = await session.execute(
        select(ChildChunk.id, ChildChunk.segment_id)
        .join(DocumentSegment, DocumentSegment.id == ChildChunk.segment_id)
        .where(generation.children, ChildChunk.completed_at.is_(None))
        .order_by(DocumentSegment.position, ChildChunk.position, ChildChunk.id)
    )
    parents: dict[str, str] = {}
    return [Missing(row, parents.setdefault(segment, segment)) for row, segment in children]


async def bare_rows(session: AsyncSession, form: Form, missing: Sequence[Missing]) -> tuple[PendingRow, ...]:
    """The rows of these ids, in their order; one that has gone meanwhile is left out."""
    model = ChildChunk if form == "hierarchical_model" else DocumentSegment
    found = await session.execute(
        select(model.id, model.index_node_id, model.content).where(
            model.id.in_([row.row_id for row in missing]), model.index_node_id.is_not(None)
        )
    )
    known = {row_id: (node or "", content) for row_id, node, content in found}
    rows = []
    for row_id, segment_id in missing:
        if row_id in known:
            node, content = known[row_id]
            rows.append(PendingRow(row_id, segment_id, node, content, text_hash(content)))
    return tuple(rows)


async def complete_rows(
    session: AsyncSession, form: Form, rows: Sequence[PendingRow], ended: Collection[str], *, enabled: bool
) -> None:
    """The rows have their vectors, and so have the segments that end with them.

    `ended` are the rows' segments that have no later rows; one with a child chunk that failed is not completed.
    """
    now = utc_now()
    conditions: list[ColumnElement[bool]] = [DocumentSegment.id.in_(ended)]
    if form == "hierarchical_model":
        children = update(ChildChunk).where(ChildChunk.id.in_([row.row_id for row in rows]))
        await session.execute(children.values(completed_at=now, error=None))
        conditions.append(~_HAS_BARE_CHILD)
    await session.execute(
        update(DocumentSegment)
        .where(*conditions)
        .values(status="completed", enabled=enabled, completed_at=now, error=None, stopped_at=None)
    )


async def complete_parents(session: AsyncSession, generation: IndexingRun, *, enabled: bool) -> None:
    """The segments all of whose child chunks have their vectors, also where the last of them has gone meanwhile."""
    await session.execute(
        update(DocumentSegment)
        .where(generation.segments, DocumentSegment.completed_at.is_(None), ~_HAS_BARE_CHILD)
        .values(status="completed", enabled=enabled, completed_at=utc_now(), error=None, stopped_at=None)
    )


async def fail_row(session: AsyncSession, form: Form, row: PendingRow, error: str) -> None:
    """The row gets no vector, and says why; its segment has the status error."""
    if form == "hierarchical_model":
        await session.execute(update(ChildChunk).where(ChildChunk.id == row.row_id).values(error=error))
    await session.execute(
        update(DocumentSegment)
        .where(DocumentSegment.id == row.segment_id)
        .values(status="error", error=error, stopped_at=utc_now(), enabled=False)
    )


async def forget_failures(session: AsyncSession, form: Form, generation: IndexingRun) -> None:
    """What failed in a former attempt is to be tried again."""
    if form == "hierarchical_model":
        await session.execute(
            update(ChildChunk)
            .where(generation.children, ChildChunk.completed_at.is_(None), ChildChunk.error.is_not(None))
            .values(error=None)
        )
    await session.execute(
        update(DocumentSegment)
        .where(generation.segments, DocumentSegment.status == "error")
        .values(status="indexing", error=None, stopped_at=None)
    )


async def bare_segments(
    session: AsyncSession, generation: IndexingRun, limit: int
) -> tuple[int, list[tuple[int, str]]]:
    """How many segments cannot be found yet; of the first of them the position and the reason."""
    bare = generation.segments & DocumentSegment.completed_at.is_(None)
    count = await session.scalar(select(func.count()).select_from(DocumentSegment).where(bare))
    if not count:
        return 0, []
    rows = await session.execute(
        select(DocumentSegment.position, DocumentSegment.error)
        .where(bare)
        .order_by(DocumentSegment.position)
        .limit(limit)
    )
    return count, [(position, error or "its vector is missing") for position, error in rows]
