"""The rows that a segment needs before it can be loaded: its id in the index, and its child chunks."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import RefusedError
from streams.dify.ids import child_node_id, own_node_id, segment_id, text_hash
from streams.dify.indexing.segment_rows import Row
from streams.dify.models import ChildChunk, DatasetProcessRule, Document, DocumentSegment, utc_now
from streams.dify.splitting.hierarchical import with_children
from streams.dify.splitting.piece import Piece
from streams.dify.splitting.rules import Rules, Segmentation, rules_of


class Parent(NamedTuple):
    """The segment that child chunks belong to."""

    document: Document
    segment_id: str
    created_by: str
    created_at: datetime


def child_rows(parent: Parent, children: Iterator[Piece]) -> Iterator[Row]:
    """Yield rows of child_chunks, with ids that depend on the segment, the position and the content."""
    for child in children:
        node = child_node_id(parent.segment_id, child.position, child.content_hash)
        yield {
            "id": segment_id(node),
            "tenant_id": parent.document.tenant_id,
            "dataset_id": parent.document.dataset_id,
            "document_id": parent.document.id,
            "segment_id": parent.segment_id,
            "position": child.position,
            "content": child.content,
            "word_count": len(child.content),
            "index_node_id": node,
            "index_node_hash": child.content_hash,
            "type": "automatic",
            "created_by": parent.created_by,
            "created_at": parent.created_at,
            "updated_at": parent.created_at,
        }


async def child_rules(session: AsyncSession, document: Document, largest: int) -> Segmentation:
    """Return the rule for splitting the segments of a hierarchical document, with child chunks of up to `largest`.

    Raises RefusedError if it has none.
    """
    rules = await document_rules(session, document, largest)
    if rules is None or rules.children is None:
        message = "the document has no process rule with subchunk_segmentation, which a hierarchical document needs"
        raise RefusedError(message)
    return rules.children


async def document_rules(session: AsyncSession, document: Document, largest: int) -> Rules | None:
    """Return the process rule of a document; None: it has none of its dataset. Raises RefusedError."""
    rule_id = document.dataset_process_rule_id
    rule = await session.get(DatasetProcessRule, rule_id) if rule_id else None
    if rule is None or rule.dataset_id != document.dataset_id:
        return None
    return rules_of(rule.mode, rule.rules, largest)


async def give_nodes(session: AsyncSession, segments: ColumnElement[bool]) -> None:
    """Give ids in the index to segments that have none."""
    found = await session.execute(
        select(DocumentSegment.id, DocumentSegment.content).where(segments, DocumentSegment.index_node_id.is_(None))
    )
    for row, content in found.all():
        values = {"index_node_id": own_node_id(row), "index_node_hash": text_hash(content)}
        await session.execute(update(DocumentSegment).where(DocumentSegment.id == row).values(values))


async def add_missing_children(
    session: AsyncSession, document: Document, segments: ColumnElement[bool], largest: int
) -> None:
    """Split new segments that have no child chunks, by the document's rule. Raises RefusedError if it has none.

    Args:
        session: the transaction of the step.
        document: the document of the segments.
        segments: selects them.
        largest: the largest number of characters of a child chunk that the rule may ask for.
    """
    childless = ~exists().where(ChildChunk.segment_id == DocumentSegment.id)
    new = segments & (DocumentSegment.status != "completed") & childless
    found = (await session.scalars(select(DocumentSegment).where(new))).all()
    if not found:
        return
    segmentation, now = await child_rules(session, document, largest), utc_now()
    for one in found:
        piece = with_children(Piece(one.position, one.content, text_hash(one.content)), segmentation)
        rows = list(child_rows(Parent(document, one.id, one.created_by, now), iter(piece.children)))
        await session.execute(insert(ChildChunk), rows)
