"""The ledger's statements for long deliveries: claim, extend, release and finish a lease.

Every transaction locks in the same order: the row of the lease, then the row of the execution.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.delivery import Delivery
from streams.delivery.handler import JSON
from streams.delivery.ledger.columns import WorkerIdentity, fixed_columns, headers_json, primary_key, result_json

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

RELEASE_LEASE = text("delete from streams.leases where resource = :resource and token = :token")

RELEASE_EXPIRED_LEASE = text(
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

ADD_RESULT = text(
    """
    update streams.executions set result = cast(:result as jsonb)
    where day = :day and event_id = :event_id and handler = :handler and status = 'success'
    """
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a long delivery on its resource. Only the holder of the token may commit."""

    resource: str
    token: UUID
    seconds: float


async def claim_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """Take the lease if it is free or has expired; False: another delivery holds it."""
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


async def claim_long(session: AsyncSession, delivery: Delivery, lease: Lease, identity: WorkerIdentity) -> bool:
    """Claim a long delivery and store its record in its row; False: it ran, runs, or has a newer record.

    Args:
        session: The transaction that has claimed the lease.
        delivery: What is claimed.
        lease: The lease on its resource.
        identity: Who runs it.
    """
    row = await session.execute(
        CLAIM_LONG,
        {
            **primary_key(delivery),
            **fixed_columns(delivery, identity),
            "seq": delivery.seq,
            "run": delivery.run_number,
            "replays": delivery.replays,
            "resource": lease.resource,
            "token": lease.token,
            "seconds": lease.seconds,
            "value": delivery.record.value,
            "headers": headers_json(delivery.record.headers),
        },
    )
    return row.first() is not None


async def lock_lease(session: AsyncSession, lease: Lease) -> bool:
    """Lock the row of the lease in this transaction; False: the lease is lost, so this must not commit."""
    row = await session.execute(LOCK_LEASE, {"resource": lease.resource, "token": lease.token})
    return row.first() is not None


async def extend_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """Extend the lease from now (a heartbeat); False: the lease is lost."""
    held = await session.execute(
        EXTEND_LEASE, {"resource": lease.resource, "token": lease.token, "seconds": lease.seconds}
    )
    if held.first() is None:
        return False
    await session.execute(EXTEND_EXECUTION, {**primary_key(delivery), "token": lease.token, "seconds": lease.seconds})
    return True


async def release_lease(session: AsyncSession, lease: Lease) -> None:
    """Release the lease."""
    await session.execute(RELEASE_LEASE, {"resource": lease.resource, "token": lease.token})


async def release_expired_lease(session: AsyncSession, lease: Lease) -> None:
    """Release the lease of a stopped worker, unless it was taken over or a late heartbeat extended it."""
    await session.execute(RELEASE_EXPIRED_LEASE, {"resource": lease.resource, "token": lease.token})


async def finish_long(session: AsyncSession, delivery: Delivery, lease: Lease, result: JSON) -> None:
    """Write a long delivery's success and release its lease.

    Args:
        session: A transaction that has locked the lease's row.
        delivery: What succeeded.
        lease: The lease on its resource.
        result: What its handler returned.
    """
    await session.execute(
        FINISH_LONG,
        {
            **primary_key(delivery),
            "token": lease.token,
            "result": result_json(result),
        },
    )
    await release_lease(session, lease)


async def add_result(session: AsyncSession, delivery: Delivery, result: JSON) -> None:
    """Add the result of a handler to the row of a delivery that has succeeded."""
    await session.execute(ADD_RESULT, {**primary_key(delivery), "result": result_json(result)})
