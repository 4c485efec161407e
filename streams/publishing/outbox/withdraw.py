"""Withdraws events from the outbox before they are sent.

An event is either withdrawn or sent, never both, as long as the relay that sends it works: docs/explanation/relay.md
has the limits.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

FIND = text("select id from streams.outbox where event_id = any(:event_ids) and due_at is null")
FIND_SCHEDULED = text("select id from streams.outbox where event_id = any(:event_ids) and due_at is not null")
LOCK_TIMEOUT_SECONDS = 10
"""A relay's transaction takes one second, or as long as Kafka needs for a batch."""
SET_LOCK_TIMEOUT = text(f"set local lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
LOCK_NOT_AVAILABLE = "55P03"
LOCK_RELAY = text("select in_flight from streams.relay for update")
DELETE = text("delete from streams.outbox where id = any(:ids) returning event_id, topic")


class RelayBusyError(Exception):
    """The relay keeps its lock, or is sending an event. The message is one line. Nothing was withdrawn."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An event that will not be sent once the transaction has committed."""

    event_id: UUID
    topic: str


async def withdraw(
    session: AsyncSession, event_ids: Collection[UUID], *, scheduled_only: bool = False
) -> list[Withdrawn]:
    """Delete these events' outbox rows in the caller's transaction. The caller must end it soon.

    The transaction holds the relay's lock until it ends, so that the relay takes none of the rows. The relay's row has
    the ids of those that it has taken and that Kafka has not answered. Other events wait for the lock too.

    Args:
        session: The session whose transaction is used.
        event_ids: The events to withdraw.
        scheduled_only: Withdraw only events that were published for a later time.

    Raises:
        RelayBusyError: The relay kept its lock for too long, or one of the events is on its way to Kafka.
    """
    wanted = {"event_ids": list(event_ids)}
    ids = list((await session.execute(FIND_SCHEDULED, wanted)).scalars())
    if not scheduled_only:
        ids += (await session.execute(FIND, wanted)).scalars()
    if not ids:
        return []
    await session.execute(SET_LOCK_TIMEOUT)
    try:
        in_flight = (await session.execute(LOCK_RELAY)).scalar()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        message = f"the relay waits for Kafka: its lock was not free within {LOCK_TIMEOUT_SECONDS} s; try again"
        raise RelayBusyError(message) from error
    if not set(ids).isdisjoint(in_flight or ()):
        message = "an event is on its way to Kafka, which has not answered yet: nothing is cancelled; try again"
        raise RelayBusyError(message)
    deleted = await session.execute(DELETE, {"ids": ids})
    return [Withdrawn(row.event_id, row.topic) for row in deleted]
