"""Scheduled events, which wait in the outbox for their time."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Text, cast, select

from streams import headers
from streams.database.tables import outbox
from streams.publishing.outbox.outbox import headers_from_text


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An event that will be sent at `due_at` if it is not cancelled."""

    event_id: UUID
    topic: str
    key: str | None
    """The key as text. Bytes that are not UTF-8 become replacement characters."""
    tenant_id: str | None
    due_at: datetime
    expires_at: datetime | None
    published_at: datetime
    """When its sender wrote it to the outbox."""


def list_scheduled(
    connection: Connection, *, topic: str | None = None, tenant_id: str | None = None, limit: int
) -> list[Scheduled]:
    """Return the scheduled events that have not been sent, in the order of their times.

    Args:
        connection: The outbox's database.
        topic: Only this topic. None: all topics.
        tenant_id: Only this tenant. None: all tenants.
        limit: The maximum number of rows.
    """
    columns = outbox.c
    wanted = {columns.topic: topic, columns.tenant_id: tenant_id}
    rows = connection.execute(
        select(
            columns.event_id,
            columns.topic,
            columns.key,
            columns.tenant_id,
            columns.due_at,
            cast(columns.headers, Text).label("headers"),  # as text: the driver's parser could fail for a foreign row
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


def _expiry(stored: str) -> datetime | None:
    """Return the expiry time in a row's headers. The relay rejects headers that cannot be decoded."""
    try:
        return headers.last_time(headers_from_text(stored), headers.CE_EXPIRYTIME)
    except ValueError:
        return None
