"""Events for later: what waits in the outbox for its time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select

from streams import headers
from streams.database.tables import outbox
from streams.publishing.outbox.outbox import headers_from_json


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An event that goes out at `due_at`, if nobody cancels it before."""

    event_id: UUID
    topic: str
    key: str | None
    """As text; bytes that are none become replacement characters."""
    tenant_id: str | None
    due_at: datetime
    expires_at: datetime | None
    published_at: datetime
    """When its sender wrote it."""


def list_scheduled(
    connection: Connection, *, topic: str | None = None, tenant_id: str | None = None, limit: int
) -> list[Scheduled]:
    """Events for later that have not gone out, the next to go first. None leaves a filter open."""
    columns = outbox.c
    wanted = {columns.topic: topic, columns.tenant_id: tenant_id}
    rows = connection.execute(
        select(
            columns.event_id,
            columns.topic,
            columns.key,
            columns.tenant_id,
            columns.due_at,
            columns.headers,
            columns.created_at,
        )
        .where(
            columns.failed_at.is_(None),
            columns.due_at.is_not(None),
            *(column == value for column, value in wanted.items() if value is not None),
        )
        .order_by(columns.due_at, columns.id)
        .limit(limit)
    )
    return [
        Scheduled(
            event_id=row.event_id,
            topic=row.topic,
            key=None if row.key is None else row.key.decode(errors="replace"),
            tenant_id=row.tenant_id,
            due_at=row.due_at,
            expires_at=_expiry(row.headers),
            published_at=row.created_at,
        )
        for row in rows
    ]


def _expiry(stored: Sequence[Sequence[str]]) -> datetime | None:
    """Of headers as the row has them; those that nobody can read are the relay's to refuse."""
    try:
        return headers.last_time(headers_from_json(stored), headers.CE_EXPIRYTIME)
    except ValueError:
        return None
