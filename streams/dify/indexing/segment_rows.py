"""Builds the rows of a document's pieces: waiting segments and their child chunks, with deterministic ids."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streams.dify.document_lock import IndexingRun
from streams.dify.ids import child_node_id, node_id, segment_id
from streams.dify.models import Document
from streams.dify.splitting.piece import Piece

Row = dict[str, object]


class NewSegment(NamedTuple):
    """A segment that is not inserted yet."""

    position: int
    content: str
    content_hash: str
    answer: str | None
    tokens: int
    place: Mapping[str, str | int] = {}
    """Where the segment is in its file. No column has it."""


class NewChild(NamedTuple):
    """A child chunk that is not inserted yet."""

    parent_position: int
    parent_hash: str
    position: int
    content: str
    content_hash: str


def new_rows(pieces: Iterable[Piece], tokens: Sequence[int]) -> Iterator[NewSegment | NewChild]:
    """Yield one segment per piece, each followed by its child chunks. `tokens` are the token counts of the pieces."""
    for piece, count in zip(pieces, tokens, strict=True):
        yield NewSegment(piece.position, piece.content, piece.content_hash, piece.answer, count, piece.place)
        for child in piece.children:
            yield NewChild(piece.position, piece.content_hash, child.position, child.content, child.content_hash)


def segment_row(document: Document, run: IndexingRun, new: NewSegment) -> Row:
    """Return a row of document_segments."""
    node = node_id(document.id, run.started_at, new.position, new.content_hash)
    return {
        **_common(document, run),
        "id": segment_id(node),
        "position": new.position,
        "content": new.content,
        "answer": new.answer,
        "word_count": len(new.content),
        "tokens": new.tokens,
        "index_node_id": node,
        "index_node_hash": new.content_hash,
        "hit_count": 0,
        "enabled": False,
        "status": "waiting",
    }


def child_row(document: Document, run: IndexingRun, new: NewChild) -> Row:
    """Return a row of child_chunks."""
    segment = segment_id(node_id(document.id, run.started_at, new.parent_position, new.parent_hash))
    node = child_node_id(segment, new.position, new.content_hash)
    return {
        **_common(document, run),
        "id": segment_id(node),
        "segment_id": segment,
        "position": new.position,
        "content": new.content,
        "word_count": len(new.content),
        "index_node_id": node,
        "index_node_hash": new.content_hash,
        "type": "automatic",
    }


def _common(document: Document, run: IndexingRun) -> Row:
    return {
        "tenant_id": document.tenant_id,
        "dataset_id": document.dataset_id,
        "document_id": document.id,
        "created_by": document.created_by,
        "created_at": run.started_at,
        "updated_at": run.started_at,
    }
