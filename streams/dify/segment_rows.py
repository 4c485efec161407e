"""The rows that a document's pieces become: waiting segments and their child chunks, with ids that never change."""

from collections.abc import Iterator, Sequence

from streams.dify.forms.piece import Piece
from streams.dify.identity import child_node_id, node_id, segment_id
from streams.dify.models import Document
from streams.dify.standing import Generation

Row = dict[str, object]


def segment_row(document: Document, generation: Generation, piece: Piece, tokens: int) -> Row:
    """A row of document_segments."""
    node = node_id(document.id, generation.started_at, piece.position, piece.content_hash)
    return {
        "id": segment_id(node),
        "tenant_id": document.tenant_id,
        "dataset_id": document.dataset_id,
        "document_id": document.id,
        "position": piece.position,
        "content": piece.content,
        "answer": piece.answer,
        "word_count": len(piece.content),
        "tokens": tokens,
        "index_node_id": node,
        "index_node_hash": piece.content_hash,
        "enabled": False,
        "status": "waiting",
        "created_by": document.created_by,
        "created_at": generation.started_at,
        "updated_at": generation.started_at,
    }


def children_of(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Piece]]:
    """Each child behind its parent, in order."""
    return ((parent, child) for parent in pieces for child in parent.children)


def child_row(document: Document, generation: Generation, parent: Piece, child: Piece) -> Row:
    """A row of child_chunks."""
    segment = segment_id(node_id(document.id, generation.started_at, parent.position, parent.content_hash))
    node = child_node_id(segment, child.position, child.content_hash)
    return {
        "id": segment_id(node),
        "tenant_id": document.tenant_id,
        "dataset_id": document.dataset_id,
        "document_id": document.id,
        "segment_id": segment,
        "position": child.position,
        "content": child.content,
        "word_count": len(child.content),
        "index_node_id": node,
        "index_node_hash": child.content_hash,
        "type": "automatic",
        "created_by": document.created_by,
        "created_at": generation.started_at,
        "updated_at": generation.started_at,
    }
