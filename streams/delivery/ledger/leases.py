"""The ledger's statements for long deliveries: claimed, held, given back or finished under a lease.

Locks are taken in one order everywhere: the lease's row, then the execution's.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.delivery import Delivery
from streams.delivery.handler import JSON
from streams.delivery.ledger.columns import WorkerIdentity, description, headers_json, identity, result_json

CLAIM_LEASE = text(
    """
    insert into streams.leases as l (resource, token, until, event_id, handler)
    values (:resource, :token, clock_timestamp() + make_interval(secs => :seconds), :event_id, :handler)
    on conflict (resource) do update set
        token = excluded.token, until = excluded.until, event_id = excluded.event_id, handler = excluded.handler
    where l.until < clock_timestamp()
    returning l.token
    """
)

CLAIM_LONG = text(
    """
    insert into streams.executions as e (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, priority, args,
        status, seq, attempts, replays, created_at, started_at, worker,
        resource, lease_token, lease_until, record_value, record_headers
    )
    values (
        :day, :event_id, :handler, :task_id, :topic, :partition, :offset, :key, :tenant_id, :pool, :priority,
        cast(:args as jsonb), 'started', :seq, :run, :replays, :created_at, clock_timestamp(), :worker,
        :resource, :token, clock_timestamp() + make_interval(secs => :seconds), :value, cast(:headers as jsonb)
    )
    on conflict (day, event_id, handler) do update set
        status = 'started', seq = excluded.seq, attempts = excluded.attempts, due_at = null, error = null,
        started_at = excluded.started_at, worker = excluded.worker, resource = excluded.resource,
        lease_token = excluded.lease_token, lease_until = excluded.lease_until,
        record_value = excluded.record_value, record_headers = excluded.record_headers
    where e.status = 'retry' and e.seq <= excluded.seq
    returning e.event_id
    """
)

LOCK_LEASE = text("select 1 from streams.leases where resource = :resource and token = :token for update")

EXTEND_LEASE = text(
    """
    update streams.leases set until = clock_timestamp() + make_interval(secs => :seconds)
    where resource = :resource and token = :token
    returning token
    """
)

EXTEND_EXECUTION = text(
    """
    update streams.executions set lease_until = clock_timestamp() + make_interval(secs => :seconds)
    where day = :day and event_id = :event_id and handler = :handler and lease_token = :token and status = 'started'
    """
)

DROP_LEASE = text("delete from streams.leases where resource = :resource and token = :token")

DROP_EXPIRED_LEASE = text(
    "delete from streams.leases where resource = :resource and token = :token and until < clock_timestamp()"
)

FINISH_LONG = text(
    """
    update streams.executions set status = 'success', completed_at = clock_timestamp(), error = null,
        result = cast(:result as jsonb), lease_token = null, lease_until = null,
        record_value = null, record_headers = null,
        history = history || jsonb_build_array(jsonb_build_object('attempt', attempts, 'started_at', started_at,
            'completed_at', clock_timestamp(), 'outcome', 'success', 'worker', worker))
    where day = :day and event_id = :event_id and handler = :handler and lease_token = :token and status = 'started'
    """
)

NOTE_RESULT = text(
    """
    update streams.executions set result = cast(:result as jsonb)
    where day = :day and event_id = :event_id and handler = :handler and status = 'success'
    """
)


@dataclass(frozen=True, slots=True)
class Lease:
    """A long delivery's hold on its resource: only the holder of the token may commit."""

    resource: str
    token: UUID
    seconds: float


async def claim_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """Take the resource, or take it over where its lease has expired; False: another delivery holds it."""
    row = await session.execute(
        CLAIM_LEASE,
        {
            "resource": lease.resource,
            "token": lease.token,
            "seconds": lease.seconds,
            "event_id": delivery.event.event_id,
            "handler": delivery.handler.name,
        },
    )
    return row.first() is not None


async def claim_long(session: AsyncSession, delivery: Delivery, lease: Lease, place: WorkerIdentity) -> bool:
    """Claim a long delivery and keep its record in its row; False: it ran, runs, or has moved on.

    Args:
        session: The transaction that has claimed the lease.
        delivery: What is claimed.
        lease: On its resource.
        place: Who runs it.
    """
    row = await session.execute(
        CLAIM_LONG,
        {
            **identity(delivery),
            **description(delivery, place),
            "seq": delivery.seq,
            "run": delivery.run,
            "replays": delivery.replays,
            "resource": lease.resource,
            "token": lease.token,
            "seconds": lease.seconds,
            "value": delivery.record.value,
            "headers": headers_json(delivery.record.headers),
        },
    )
    return row.first() is not None


async def hold_lease(session: AsyncSession, lease: Lease) -> bool:
    """Lock the lease's row for this transaction; False: it is lost, so nothing here may commit."""
    row = await session.execute(LOCK_LEASE, {"resource": lease.resource, "token": lease.token})
    return row.first() is not None


async def extend_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """Extend the lease from now on, as a heartbeat does; False: the lease is lost."""
    held = await session.execute(
        EXTEND_LEASE, {"resource": lease.resource, "token": lease.token, "seconds": lease.seconds}
    )
    if held.first() is None:
        return False
    await session.execute(EXTEND_EXECUTION, {**identity(delivery), "token": lease.token, "seconds": lease.seconds})
    return True


async def drop_lease(session: AsyncSession, lease: Lease) -> None:
    """Release the resource."""
    await session.execute(DROP_LEASE, {"resource": lease.resource, "token": lease.token})


async def drop_expired_lease(session: AsyncSession, lease: Lease) -> None:
    """Release the resource of a worker that went away, unless it was taken over or a heartbeat came after all."""
    await session.execute(DROP_EXPIRED_LEASE, {"resource": lease.resource, "token": lease.token})


async def finish_long(session: AsyncSession, delivery: Delivery, lease: Lease, result: JSON) -> None:
    """Write a long delivery's success and release its resource.

    Args:
        session: A transaction that has locked the lease's row.
        delivery: What succeeded.
        lease: On its resource.
        result: What its handler returned.
    """
    await session.execute(
        FINISH_LONG,
        {
            **identity(delivery),
            "token": lease.token,
            "result": result_json(result),
        },
    )
    await drop_lease(session, lease)


async def note_result(session: AsyncSession, delivery: Delivery, result: JSON) -> None:
    """Add what a handler returned to the row of a delivery that has succeeded."""
    await session.execute(NOTE_RESULT, {**identity(delivery), "result": result_json(result)})
