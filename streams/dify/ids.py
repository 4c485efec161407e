"""Deterministic ids, and checks of ids that come from outside."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid5

from streams.dify.errors import RefusedError

_NODES = UUID("5b3c1a0e-6a0e-5f6b-9d0c-0d5a4f1f7a52")
_CHILDREN = UUID("9f2d6c11-84b3-5d3a-8a57-7c0e4d1b6f93")
_SEGMENTS = UUID("0c9d7f4e-3a57-5d0b-8f3e-2b1f6c8e9a41")


def text_hash(text: str) -> str:
    """Return the platform's hash of a text, as in segments and the embedding cache: sha256 of the text and ``None``."""
    return sha256((text + "None").encode()).hexdigest()


def node_id(document_id: str, started_at: datetime, position: int, content_hash: str) -> str:
    """Return the vector id of a piece. The same content at the same position in the same run overwrites itself.

    `started_at` separates this run from other runs of the document. Their vectors exist at the same time for a while.
    """
    return str(uuid5(_NODES, f"{UUID(document_id)}/{started_at.isoformat()}/{position}/{content_hash}"))


def child_node_id(segment: str, position: int, content_hash: str) -> str:
    """Return the vector id of a child chunk. The same content at the same position of a segment overwrites itself."""
    return str(uuid5(_CHILDREN, f"{UUID(segment)}/{position}/{content_hash}"))


def segment_id(node: str) -> str:
    """Return the row id of the segment or child chunk of a node id. A repeated insert conflicts with its own row."""
    return str(uuid5(_SEGMENTS, node))


def checked_id(name: str, value: str) -> str:
    """Return the id in the database's spelling. Raises RefusedError that names the field if it is not a UUID."""
    try:
        return str(UUID(value))
    except ValueError as error:
        message = f"{name} {value!r} is not a UUID"
        raise RefusedError(message) from error


def valid_ids(values: Iterable[str]) -> list[str]:
    """Return the values that are UUIDs, in the database's spelling."""
    found = []
    for value in values:
        try:
            found.append(str(UUID(value)))
        except ValueError:
            continue
    return found
