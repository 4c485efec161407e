"""Outbox rows that Kafka rejected permanently ("set aside"): list, retry or delete them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, select, update

from streams.database.tables import outbox


@dataclass(frozen=True, slots=True)
class SetAside:
    """An outbox row that Kafka rejected."""

    id: int
    event_id: UUID
    topic: str
    created_at: datetime
    failed_at: datetime
    error: str


def list_set_aside(connection: Connection, limit: int) -> list[SetAside]:
    """Return the rows that were set aside, the latest first."""
    columns = outbox.c
    found = connection.execute(
        select(columns.id, columns.event_id, columns.topic, columns.created_at, columns.failed_at, columns.error)
        .where(columns.failed_at.is_not(None))
        .order_by(columns.failed_at.desc(), columns.id.desc())
        .limit(limit)
    )
    return [SetAside(row.id, row.event_id, row.topic, row.created_at, row.failed_at, row.error or "") for row in found]


def retry_set_aside(connection: Connection, ids: Sequence[int] | None) -> list[int]:
    """Send rows again before all others, since they keep their ids. Returns their ids. `ids`: None means all."""
    columns = outbox.c
    done = connection.execute(
        update(outbox).where(*_conditions(ids)).values(failed_at=None, error=None).returning(columns.id)
    )
    return sorted(done.scalars())


def drop_set_aside(connection: Connection, ids: Sequence[int] | None) -> list[int]:
    """Delete rows permanently. Returns their ids. `ids`: None means all."""
    return sorted(connection.execute(delete(outbox).where(*_conditions(ids)).returning(outbox.c.id)).scalars())


def _conditions(ids: Sequence[int] | None) -> list[ColumnElement[bool]]:
    """Match only rows that were set aside. Waiting rows are never changed, even if their ids are given."""
    refused = outbox.c.failed_at.is_not(None)
    return [refused] if ids is None else [refused, outbox.c.id.in_(ids)]
