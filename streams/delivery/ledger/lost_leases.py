"""The ledger's statements for the lease sweep: find long deliveries whose lease has expired, read and bury them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.ledger.columns import storable
from streams.delivery.ledger.leases import Lease, lock_lost_lease, release_lease
from streams.publishing.outbox.outbox import headers_from_json
from streams.transport.kafka.records import Record

PAGE = 100
"""Rows of one page of a search."""
UNREADABLE_AFTER = "24 hours"
"""After this time a claimed record that no version could read is dead-lettered, as a retry record is."""

_SELECT = """
    select e.day, e.lease_until, e.event_id, e.handler, e.lease_token, e.topic, e.lost_leases,
        e.lease_until < clock_timestamp() - interval '{after}' as overdue
    from streams.executions e
    where e.status = 'started' and (e.lease_until, e.event_id, e.handler) > (:until, :event_id, :name)
        and {which}
        and not exists (
            select from streams.leases l
            where l.resource = e.resource and l.token = e.lease_token and l.until >= clock_timestamp()
        )
    order by e.lease_until, e.event_id, e.handler limit :limit
"""

SELECT_LOST = text(
    _SELECT.format(after=UNREADABLE_AFTER, which="e.lease_until < clock_timestamp() and e.handler = any(:handlers)")
)

SELECT_UNKNOWN = text(
    _SELECT.format(
        after=UNREADABLE_AFTER,
        which=f"e.lease_until < clock_timestamp() - interval '{UNREADABLE_AFTER}'"
        " and e.pool = :pool and e.handler <> all(:handlers)",
    )
)

SELECT_CLAIMED = text(
    """
    select * from streams.executions
    where day = :day and event_id = :event_id and handler = :handler
        and status = 'started' and lease_token = :token and lease_until < clock_timestamp()
    """
)

BURY = text(
    """
    update streams.executions set status = 'failure', seq = seq + 1, reason = :reason, error = :error,
        completed_at = clock_timestamp(), lost_leases = lost_leases + 1, lease_token = null, lease_until = null,
        record_value = null, record_headers = null,
        history = history || jsonb_build_array(jsonb_build_object('attempt', attempts, 'started_at', started_at,
            'completed_at', clock_timestamp(), 'outcome', 'failure', 'worker', worker, 'error', cast(:error as text)))
    where day = :day and event_id = :event_id and handler = :handler and status = 'started' and lease_token = :token
        and lease_until < clock_timestamp()
    returning event_id
    """
)


@dataclass(frozen=True, slots=True)
class LostDelivery:
    """A row whose lease has expired. The fields have the order of the columns in `_SELECT`."""

    day: date
    until: datetime
    event_id: UUID
    handler: str
    token: UUID
    topic: str
    lost_leases: int
    overdue: bool
    """Whether it has been lost for `UNREADABLE_AFTER`."""

    def key(self) -> dict[str, object]:
        """Return the parameters that select this row while it is lost."""
        return {"day": self.day, "event_id": self.event_id, "handler": self.handler, "token": self.token}


async def find_lost(session: AsyncSession, handlers: Collection[str], after: LostDelivery | None) -> list[LostDelivery]:
    """Return the next page of the lost deliveries of these handlers.

    Args:
        session: Any session.
        handlers: The names of handlers of one pool.
        after: The last row of the page before; None: the first page.
    """
    return await _page(session, SELECT_LOST, after, handlers=list(handlers))


async def find_unknown(
    session: AsyncSession, pool: str, handlers: Collection[str], after: LostDelivery | None
) -> list[LostDelivery]:
    """Return the next page of a pool's lost deliveries of other handlers, lost for `UNREADABLE_AFTER`.

    Args:
        session: Any session.
        pool: The pool that claimed them.
        handlers: The names of all handlers of this version.
        after: The last row of the page before; None: the first page.
    """
    return await _page(session, SELECT_UNKNOWN, after, pool=pool, handlers=list(handlers))


async def _page(
    session: AsyncSession, select: object, after: LostDelivery | None, **parameters: object
) -> list[LostDelivery]:
    first = {"until": datetime(1, 1, 1, tzinfo=UTC), "event_id": UUID(int=0), "name": ""}
    start = first if after is None else {"until": after.until, "event_id": after.event_id, "name": after.handler}
    found = await session.execute(select, {**start, **parameters, "limit": PAGE})  # type: ignore[call-overload]
    return [LostDelivery(*row) for row in found]


async def read_claimed(session: AsyncSession, lost: LostDelivery) -> RowMapping | None:
    """Return the whole row of a lost delivery; None: it is lost no more."""
    found = await session.execute(SELECT_CLAIMED, lost.key())
    return found.mappings().one_or_none()


def claimed_record(row: RowMapping) -> Record:
    """Return the record of a long delivery as its row has it."""
    return Record(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        timestamp=round(row["created_at"].timestamp() * 1000),
        timestamp_type="CreateTime",
        key=row["key"],
        value=row["record_value"],
        headers=headers_from_json(row["record_headers"]),
    )


async def bury(session: AsyncSession, lost: LostDelivery, resource: str, reason: str, error: str) -> bool:
    """Lock a lost delivery, end its row as a failure and release its lease; False: it is lost no more.

    Args:
        session: The transaction that also writes its dead letter.
        lost: The delivery.
        resource: The resource of its lease.
        reason: As in the dead letter.
        error: As in the dead letter.
    """
    lease = Lease(resource, lost.token, seconds=0.0)
    if not await lock_lost_lease(session, lease):
        return False
    ended = await session.execute(BURY, {**lost.key(), "reason": reason, "error": storable(error)})
    if ended.first() is None:
        return False
    await release_lease(session, lease)
    return True
