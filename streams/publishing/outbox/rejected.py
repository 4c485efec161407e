"""Outbox rows that Kafka refused for good: seen, sent again, or given up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, select, update

from streams.database.tables import outbox


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that Kafka refused."""

    id: int
    event_id: UUID
    topic: str
    created_at: datetime
    failed_at: datetime
    error: str


def list_set_aside(connection: Connection, limit: int) -> list[SetAside]:
    """The rows that were set aside, the latest first."""
    columns = outbox.c
    found = connection.execute(
        select(columns.id, columns.event_id, columns.topic, columns.created_at, columns.failed_at, columns.error)
        .where(columns.failed_at.is_not(None))
        .order_by(columns.failed_at.desc(), columns.id.desc())
        .limit(limit)
    )
    return [SetAside(row.id, row.event_id, row.topic, row.created_at, row.failed_at, row.error or "") for row in found]


def retry_set_aside(connection: Connection, ids: Sequence[int] | None) -> list[int]:
    """Let rows go out again, behind none: their ids stay, so they are the first. None: all. Returns which were."""
    columns = outbox.c
    done = connection.execute(
        update(outbox).where(*_chosen(ids)).values(failed_at=None, error=None).returning(columns.id)
    )
    return sorted(done.scalars())


def drop_set_aside(connection: Connection, ids: Sequence[int] | None) -> list[int]:
    """Delete rows for good. None: all. Returns which were."""
    return sorted(connection.execute(delete(outbox).where(*_chosen(ids)).returning(outbox.c.id)).scalars())


def _chosen(ids: Sequence[int] | None) -> list[ColumnElement[bool]]:
    """Only what was set aside, whatever is asked for: what waits is on its way."""
    refused = outbox.c.failed_at.is_not(None)
    return [refused] if ids is None else [refused, outbox.c.id.in_(ids)]
