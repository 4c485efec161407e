"""The ledger's statements for long deliveries: claim, hold, extend, release and finish a lease.

Every transaction locks in the same order: the row of the lease, then the row of the execution.

A step locks its lease `for key share`. A heartbeat's update does not conflict with that lock, so heartbeats continue
during a step of any length. A take-over, a release and the sweep lock `for update`, which does conflict: no lease is
lost while one of its steps is open. They skip a locked lease instead of waiting for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.delivery import Delivery
from streams.delivery.handler import JSON
from streams.delivery.ledger.columns import WorkerIdentity, fixed_columns, headers_json, primary_key, result_json

CLAIM_LEASE = text(
    """
    with free as (
        select resource from streams.leases
        where resource = :resource and (until < clock_timestamp() or token = :token) for update skip locked
    ), taken as (
        update streams.leases l set token = :token, until = clock_timestamp() + make_interval(secs => :seconds),
            event_id = :event_id, handler = :handler
        from free where l.resource = free.resource
        returning l.token
    ), added as (
        insert into streams.leases (resource, token, until, event_id, handler)
        select :resource, :token, clock_timestamp() + make_interval(secs => :seconds), :event_id, :handler
        where not exists (select from streams.leases where resource = :resource)
        on conflict (resource) do nothing
        returning token
    )
    select token from taken union all select token from added
    """
)
"""Takes a lease that is free, has expired, or is the caller's own: the reply to its first claim may be lost."""

CLAIM_LONG = text(
    """
    insert into streams.executions as e (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, priority, args,
        trace_id, status, seq, attempts, replays, created_at, started_at, worker,
        resource, lease_token, lease_until, record_value, record_headers
    )
    values (
        :day, :event_id, :handler, :task_id, :topic, :partition, :offset, :key, :tenant_id, :pool, :priority,
        cast(:args as jsonb), :trace_id, 'started', :seq, :run, :replays, :created_at, clock_timestamp(), :worker,
        :resource, :token, clock_timestamp() + make_interval(secs => :seconds), :value, cast(:headers as jsonb)
    )
    on conflict (day, event_id, handler) do update set
        status = 'started', seq = excluded.seq, attempts = excluded.attempts, due_at = null, error = null,
        started_at = excluded.started_at, worker = excluded.worker, resource = excluded.resource,
        lease_token = excluded.lease_token, lease_until = excluded.lease_until,
        record_value = excluded.record_value, record_headers = excluded.record_headers
    where (e.status = 'retry' and e.seq <= excluded.seq)
        or (e.status = 'started' and e.lease_token = excluded.lease_token)
    returning e.event_id
    """
)

HOLD_LEASE = text("select 1 from streams.leases where resource = :resource and token = :token for key share")

LOCK_LEASE = text("select 1 from streams.leases where resource = :resource and token = :token for update")

LOCK_LOST_LEASE = text(
    """
    with own as (
        select until < clock_timestamp() as expired from streams.leases
        where resource = :resource and token = :token for update skip locked
    )
    select coalesce(
        (select expired from own), not exists (select from streams.leases where resource = :resource and token = :token)
    )
    """
)

EXTEND_LEASE = text(
    """
    with own as (
        select resource from streams.leases
        where resource = :resource and token = :token for no key update skip locked
    ), extended as (
        update streams.leases l set until = clock_timestamp() + make_interval(secs => :seconds)
        from own where l.resource = own.resource
        returning l.resource
    )
    select exists (select from extended) as extended,
        exists (select from streams.leases where resource = :resource and token = :token) as held
    """
)

EXTEND_EXECUTION = text(
    """
    update streams.executions set lease_until = clock_timestamp() + make_interval(secs => :seconds)
    where day = :day and event_id = :event_id and handler = :handler and lease_token = :token and status = 'started'
    """
)

RELEASE_LEASE = text("delete from streams.leases where resource = :resource and token = :token")

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

SET_WARNINGS = text(
    """
    update streams.executions set warnings = cast(:warnings as jsonb)
    where day = :day and event_id = :event_id and handler = :handler
    """
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a long delivery on its resource. Only the holder of the token may commit."""

    resource: str
    token: UUID
    seconds: float


async def claim_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """Take the lease if it is free, has expired or is this one already; False: another delivery holds it."""
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

    A claim can be repeated with the same lease: the reply to its COMMIT may have been lost.

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


async def hold_lease(session: AsyncSession, lease: Lease) -> bool:
    """Prevent that the lease is lost before this transaction ends; False: it is lost, so this must not commit."""
    row = await session.execute(HOLD_LEASE, {"resource": lease.resource, "token": lease.token})
    return row.first() is not None


async def lock_lease(session: AsyncSession, lease: Lease) -> bool:
    """Lock the lease to end it in this transaction; False: the lease is lost, so this must not commit."""
    row = await session.execute(LOCK_LEASE, {"resource": lease.resource, "token": lease.token})
    return row.first() is not None


async def lock_lost_lease(session: AsyncSession, lease: Lease) -> bool:
    """Lock a lease that has expired, and return whether it is lost: expired, released or taken over.

    False: a late heartbeat extended it, or one of its steps or another sweep has it locked.
    """
    row = await session.execute(LOCK_LOST_LEASE, {"resource": lease.resource, "token": lease.token})
    return bool(row.scalar())


async def extend_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """Extend the lease, in its row and in the execution's; False: the lease is lost.

    Waits for nobody: a lease that a settlement has locked is still held, and is not extended.
    """
    found = await session.execute(
        EXTEND_LEASE, {"resource": lease.resource, "token": lease.token, "seconds": lease.seconds}
    )
    row = found.one()
    if row.extended:
        values = {**primary_key(delivery), "token": lease.token, "seconds": lease.seconds}
        await session.execute(EXTEND_EXECUTION, values)
    return bool(row.held)


async def release_lease(session: AsyncSession, lease: Lease) -> None:
    """Release the lease."""
    await session.execute(RELEASE_LEASE, {"resource": lease.resource, "token": lease.token})


async def finish_long(session: AsyncSession, delivery: Delivery, lease: Lease, result: JSON) -> None:
    """Write a long delivery's success and release its lease.

    The lease is released first: a heartbeat also locks it before the execution.

    Args:
        session: A transaction that holds the lease or has locked it.
        delivery: What succeeded.
        lease: The lease on its resource.
        result: What its handler returned.
    """
    await release_lease(session, lease)
    await session.execute(FINISH_LONG, {**primary_key(delivery), "token": lease.token, "result": result_json(result)})


async def add_result(session: AsyncSession, delivery: Delivery, result: JSON) -> None:
    """Add the result of a handler to the row of a delivery that has succeeded."""
    await session.execute(ADD_RESULT, {**primary_key(delivery), "result": result_json(result)})


async def set_warnings(session: AsyncSession, delivery: Delivery, warnings: Sequence[str]) -> None:
    """Set what the handler warns of. The session holds the lease, or has just released it."""
    stored = result_json(list(warnings)) if warnings else None
    await session.execute(SET_WARNINGS, {**primary_key(delivery), "warnings": stored})
