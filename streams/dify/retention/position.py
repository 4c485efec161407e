"""A place in a table that is read in the order of its rows' times: the cursor of a run."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from streams.dify.errors import RefusedError


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The time and the id of the last row that was read. Rows with equal times follow each other by their ids."""

    created_at: datetime
    id: str

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}/{self.id}"


BEGINNING = Position(datetime.min, str(UUID(int=0)))  # noqa: DTZ901 - as the platform's columns, without a zone
"""Before all rows."""


def parse_position(cursor: str | None) -> Position:
    """Return the position that a cursor names; None: the beginning. Raises RefusedError."""
    if cursor is None:
        return BEGINNING
    time, _, row_id = cursor.partition("/")
    try:
        position = Position(datetime.fromisoformat(time), str(UUID(row_id)))
    except ValueError:
        position = None
    if position is None or position.created_at.tzinfo is not None:
        message = f"cursor {cursor[:100]!r} is not a time without a zone, a slash and a UUID"
        raise RefusedError(message)
    return position
