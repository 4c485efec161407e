"""The rows of a document that get vectors: its segments or, in a hierarchical document, their child chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.forms import Form
from streams.dify.identity import child_node_id, node_id, text_hash
from streams.dify.models import ChildChunk, DocumentSegment


@dataclass(frozen=True, slots=True)
class Bare:
    """A row without its vector."""

    row_id: str
    segment_id: str
    """The segment that the row is, or belongs to."""
    node_id: str
    content: str
    content_hash: str


async def bare_rows(session: AsyncSession, form: Form, document_id: str, limit: int) -> tuple[Bare, ...]:
    """The next rows without vectors, in the document's order; those that failed in this attempt are left out."""
    of = _bare_children if form == "hierarchical_model" else _bare_segments
    return await of(session, document_id, limit)


async def complete_rows(
    session: AsyncSession, form: Form, document_id: str, rows: Sequence[Bare], now: datetime
) -> None:
    """The rows have their vectors; a segment with child chunks is completed with the last of them."""
    conditions: list[ColumnElement[bool]] = [DocumentSegment.id.in_({row.segment_id for row in rows})]
    if form == "hierarchical_model":
        children = update(ChildChunk).where(ChildChunk.id.in_([row.row_id for row in rows]))
        await session.execute(children.values(completed_at=now, error=None))
        unfinished = exists().where(
            ChildChunk.segment_id == DocumentSegment.id,
            ChildChunk.completed_at.is_(None),
        )
        conditions.append(~unfinished)
    await session.execute(
        update(DocumentSegment)
        .where(DocumentSegment.document_id == document_id, *conditions)
        .values(status="completed", enabled=True, completed_at=now, error=None, stopped_at=None)
    )


async def fail_row(session: AsyncSession, form: Form, row: Bare, error: str, now: datetime) -> None:
    """The row gets no vector, and says why; its segment has the status error."""
    if form == "hierarchical_model":
        await session.execute(update(ChildChunk).where(ChildChunk.id == row.row_id).values(error=error))
    await session.execute(
        update(DocumentSegment)
        .where(DocumentSegment.id == row.segment_id)
        .values(status="error", error=error, stopped_at=now, enabled=False)
    )


async def forget_failures(session: AsyncSession, form: Form, dataset_id: str, document_id: str) -> None:
    """What failed in a former attempt is to be tried again."""
    if form == "hierarchical_model":
        await session.execute(
            update(ChildChunk)
            .where(
                ChildChunk.dataset_id == dataset_id,
                ChildChunk.document_id == document_id,
                ChildChunk.completed_at.is_(None),
                ChildChunk.error.is_not(None),
            )
            .values(error=None)
        )
    await session.execute(
        update(DocumentSegment)
        .where(DocumentSegment.document_id == document_id, DocumentSegment.status == "error")
        .values(status="indexing", error=None, stopped_at=None)
    )


async def failed_segments(session: AsyncSession, document_id: str, limit: int) -> tuple[int, list[tuple[int, str]]]:
    """How many segments have the status error; of the first of them the position and the reason."""
    failed = (DocumentSegment.document_id == document_id, DocumentSegment.status == "error")
    count = await session.scalar(select(func.count()).select_from(DocumentSegment).where(*failed))
    rows = await session.execute(
        select(DocumentSegment.position, DocumentSegment.error)
        .where(*failed)
        .order_by(DocumentSegment.position)
        .limit(limit)
    )
    return count or 0, [(position, error or "") for position, error in rows]


async def _bare_segments(session: AsyncSession, document_id: str, limit: int) -> tuple[Bare, ...]:
    found = await session.execute(
        select(DocumentSegment.id, DocumentSegment.index_node_id, DocumentSegment.position, DocumentSegment.content)
        .where(DocumentSegment.document_id == document_id, DocumentSegment.status.not_in(("completed", "error")))
        .order_by(DocumentSegment.position, DocumentSegment.id)
        .limit(limit)
    )
    rows = []
    for row_id, node, position, content in found:
        content_hash = text_hash(content)
        known = node or node_id(document_id, position, content_hash)
        rows.append(Bare(row_id, row_id, known, content, content_hash))
    return tuple(rows)


async def _bare_children(session: AsyncSession, document_id: str, limit: int) -> tuple[Bare, ...]:
    found = await session.execute(
        select(ChildChunk.id, ChildChunk.segment_id, ChildChunk.index_node_id, ChildChunk.position, ChildChunk.content)
        .join(DocumentSegment, DocumentSegment.id == ChildChunk.segment_id)
        .where(
            DocumentSegment.document_id == document_id,
            DocumentSegment.status != "completed",
            ChildChunk.completed_at.is_(None),
            ChildChunk.error.is_(None),
        )
        .order_by(DocumentSegment.position, ChildChunk.position, ChildChunk.id)
        .limit(limit)
    )
    rows = []
    for row_id, segment, node, position, content in found:
        content_hash = text_hash(content)
        known = node or child_node_id(segment, position, content_hash)
        rows.append(Bare(row_id, segment, known, content, content_hash))
    return tuple(rows)
