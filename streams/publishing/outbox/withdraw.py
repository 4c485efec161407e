"""Taking events back out of the outbox before they go out: either that, or they went out, never both."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

FIND = text("select id from streams.outbox where event_id = any(:event_ids) and due_at is null")
FIND_SCHEDULED = text("select id from streams.outbox where event_id = any(:event_ids) and due_at is not null")
PATIENCE = 10
"""Seconds. A relay's transaction takes one, or as long as Kafka takes for a batch."""
BOUND_WAIT = text(f"set local lock_timeout = '{PATIENCE}s'")
LOCK_NOT_AVAILABLE = "55P03"
LOCK_RELAY = text("select id from streams.relay for update")
DELETE = text("delete from streams.outbox where id = any(:ids) returning event_id, topic")


class RelayBusyError(Exception):
    """The relay did not let go of its lock in time; the message is one line. Nothing was taken back."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An event that will not go out, once the transaction has committed."""

    event_id: UUID
    topic: str


async def withdraw(
    session: AsyncSession, event_ids: Collection[UUID], *, scheduled_only: bool = False
) -> list[Withdrawn]:
    """Delete what the outbox still has of these events, in the caller's transaction; which must end soon.

    The relay's lock is held until then, so that none of them is on its way to Kafka meanwhile; other events wait
    for it, too. `scheduled_only`: leave those alone that are not for later. Raises RelayBusyError.
    """
    wanted = {"event_ids": list(event_ids)}
    ids = list((await session.execute(FIND_SCHEDULED, wanted)).scalars())
    if not scheduled_only:
        ids += (await session.execute(FIND, wanted)).scalars()
    if not ids:
        return []
    await session.execute(BOUND_WAIT)
    try:
        await session.execute(LOCK_RELAY)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        message = f"the relay is busy with a batch that Kafka did not take within {PATIENCE} s: try again"
        raise RelayBusyError(message) from error
    deleted = await session.execute(DELETE, {"ids": ids})
    return [Withdrawn(row.event_id, row.topic) for row in deleted]
