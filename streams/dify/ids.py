"""Deterministic ids, and checks of ids that come from outside."""

import re
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid5

from streams.dify.errors import RefusedError

_NODES = UUID("5b3c1a0e-6a0e-5f6b-9d0c-0d5a4f1f7a52")
_CHILDREN = UUID("9f2d6c11-84b3-5d3a-8a57-7c0e4d1b6f93")
_SEGMENTS = UUID("0c9d7f4e-3a57-5d0b-8f3e-2b1f6c8e9a41")

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_TEXT = 255
"""The largest number of characters of a name in the platform's tables."""


def text_hash(text: str) -> str:
    """Return the platform's hash of a text, as in segments and the embedding cache: sha256 of the text and ``None``."""
    return sha256((text + "None").encode()).hexdigest()


def node_id(document_id: str, started_at: datetime, position: int, content_hash: str) -> str:
    """Return the vector id of a piece. The same content at the same position in the same run overwrites itself.

    `started_at` separates this run from other runs of the document. Their vectors exist at the same time for a while.
    """
    return str(uuid5(_NODES, f"{UUID(document_id)}/{started_at.isoformat()}/{position}/{content_hash}"))


def own_node_id(segment: str) -> str:
    """Return the vector id of a segment that was created without one."""
    return str(uuid5(_NODES, str(UUID(segment))))


def import_node_id(document_id: str, job_id: str, number: int) -> str:
    """Return the vector id of a row of an import. A repeated import of the same job overwrites itself."""
    return str(uuid5(_NODES, f"{UUID(document_id)}/import/{job_id}/{number}"))


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


def optional_id(name: str, value: str | None) -> str | None:
    """Return the id as `checked_id` does; None or an empty text: None."""
    return checked_id(name, value) if value else None


def checked_text(name: str, value: str) -> str:
    """Return the text. Raises RefusedError that names the field if no column of PostgreSQL can contain it."""
    if "\x00" in value or len(value) > _MAX_TEXT or _SURROGATE.search(value):
        message = f"{name} {value[:_MAX_TEXT]!r} is not a text of up to {_MAX_TEXT} characters without zero bytes"
        raise RefusedError(message)
    return value


def storable(text: str) -> str:
    """Return the text without what no column of PostgreSQL can contain: zero bytes and halves of surrogate pairs."""
    return _SURROGATE.sub("\ufffd", text.replace("\x00", "\ufffd"))


def valid_ids(values: Iterable[str]) -> list[str]:
    """Return the values that are UUIDs, in the database's spelling."""
    found = []
    for value in values:
        try:
            found.append(str(UUID(value)))
        except ValueError:
            continue
    return found
