"""The ledger's statements: claim, settle, release. Each runs in the transaction of the session it is given.

Locks are taken in one order everywhere: the lease's row, then the execution's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas.event import event_time
from streams.delivery.delivery import Delivery, at_ms, now_ms
from streams.delivery.handler import JSON
from streams.headers import Headers
from streams.publishing.outbox import headers_to_json

FinalStatus = Literal["success", "failure"]
FINAL = ("success", "failure")
HISTORY_LIMIT = 50
"""Attempts and deferrals that a row remembers; the oldest give way."""

_FROM_ARRAYS = """
    from unnest(
        cast(:days as date[]), cast(:event_ids as uuid[]), cast(:task_ids as uuid[]), cast(:topics as text[]),
        cast(:partitions as int[]), cast(:offsets as bigint[]), cast(:keys as bytea[]), cast(:tenants as text[]),
        cast(:args as text[]), cast(:seqs as int[]), cast(:runs as int[]), cast(:created as timestamptz[])
    ) as d(day, event_id, task_id, topic, partition, "offset", key, tenant_id, args, seq, run, created_at)
"""

CLAIM_EFFECT = text(
    """
    insert into streams.executions as e (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, priority, args,
        status, seq, attempts, created_at, started_at, completed_at, worker, history
    )
    select d.day, d.event_id, :handler, d.task_id, d.topic, d.partition, d."offset", d.key, d.tenant_id, :pool,
        :priority, cast(d.args as jsonb), 'success', d.seq, d.run, d.created_at, clock_timestamp(), clock_timestamp(),
        :worker, jsonb_build_array(jsonb_build_object('attempt', d.run, 'started_at', clock_timestamp(),
            'completed_at', clock_timestamp(), 'outcome', 'success', 'worker', cast(:worker as text)))
    """
    + _FROM_ARRAYS
    + """
    order by d.event_id
    on conflict (day, event_id, handler) do update set
        status = 'success', seq = excluded.seq, attempts = excluded.attempts, due_at = null, error = null,
        started_at = excluded.started_at, completed_at = excluded.completed_at, worker = excluded.worker,
        history = e.history || excluded.history
    where e.status = 'retry' and e.seq <= excluded.seq
    returning e.event_id
    """
)
"""Claims deliveries and notes their success at once: the row counts only if the effect's transaction commits."""

COMPLETE_EFFECT = text(
    """
    update streams.executions set completed_at = clock_timestamp(), result = cast(:result as jsonb),
        history = jsonb_set(history, '{-1,completed_at}', to_jsonb(clock_timestamp()))
    where day = any(:days) and event_id = any(:event_ids) and handler = :handler
    """
)

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

INSERT_IF_MISSING = text(
    """
    insert into streams.executions (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, priority, args,
        status, seq, attempts, created_at, started_at, worker
    )
    values (
        :day, :event_id, :handler, :task_id, :topic, :partition, :offset, :key, :tenant_id, :pool, :priority,
        cast(:args as jsonb), 'retry', :seq, :attempts, :created_at, :started_at, :worker
    )
    on conflict do nothing
    """
)

LOCK_EXECUTION = text(
    """
    select status, seq, attempts, lease_token, lost_leases, replays, lease_until < clock_timestamp() as expired
    from streams.executions
    where day = :day and event_id = :event_id and handler = :handler for update
    """
)

SETTLE = text(
    """
    update streams.executions set status = :status, seq = :seq, attempts = :attempts, error = :error,
        reason = :reason, due_at = :due_at, started_at = coalesce(:started_at, started_at),
        completed_at = case when :status = 'failure' then clock_timestamp() end,
        worker = :worker, lost_leases = lost_leases + :lost, lease_token = null, lease_until = null,
        record_value = null, record_headers = null,
        history = case when jsonb_array_length(history) >= :history_limit then history - 0 else history end
            || cast(:entry as jsonb)
    where day = :day and event_id = :event_id and handler = :handler
    """
)

BURY = text(
    """
    update streams.executions set status = 'failure', reason = :reason, error = :error, due_at = null,
        completed_at = clock_timestamp()
    where day = :day and event_id = :event_id and handler = :handler and status = 'retry'
    """
)
"""For a waiting delivery that no version of the code can run any more: a replay starts from `failure`."""

INSERT_DEAD_LETTER = text(
    """
    insert into streams.dead_letters (
        id, dlq_topic, dlq_partition, dlq_offset, topic, partition, "offset", event_id, handler, tenant_id,
        reason, error_type, error_message, attempts, first_failed_at, died_at
    )
    values (
        :id, :dlq_topic, :dlq_partition, :dlq_offset, :topic, :partition, :offset, :event_id, :handler, :tenant_id,
        :reason, :error_type, :error_message, :attempts, :first_failed_at, :died_at
    )
    on conflict do nothing
    """
)


@dataclass(frozen=True, slots=True)
class Place:
    """Who works: the pool and the worker, as rows name them."""

    pool: str
    priority: int
    worker: str


@dataclass(frozen=True, slots=True)
class Lease:
    """A long delivery's hold on its resource: only the holder of the token may commit."""

    resource: str
    token: UUID
    seconds: float


async def claim_effect(session: AsyncSession, deliveries: Sequence[Delivery], place: Place) -> set[UUID]:
    """First statement of an effect's transaction: which of the deliveries are to run; the others did already.

    Deliveries must be of one handler and have distinct events.
    """
    rows = await session.execute(
        CLAIM_EFFECT,
        {
            "handler": deliveries[0].handler.name,
            "pool": place.pool,
            "priority": place.priority,
            "worker": place.worker,
            "days": [delivery.day for delivery in deliveries],
            "event_ids": [delivery.event.event_id for delivery in deliveries],
            "task_ids": [delivery.task_id for delivery in deliveries],
            "topics": [delivery.origin.topic for delivery in deliveries],
            "partitions": [delivery.origin.partition for delivery in deliveries],
            "offsets": [delivery.origin.offset for delivery in deliveries],
            "keys": [delivery.record.key for delivery in deliveries],
            "tenants": [storable(delivery.event.tenant_id) for delivery in deliveries],
            "args": [args_json(delivery) for delivery in deliveries],
            "seqs": [delivery.seq for delivery in deliveries],
            "runs": [delivery.run for delivery in deliveries],
            "created": [at_ms(delivery.origin.timestamp) for delivery in deliveries],
        },
    )
    return set(rows.scalars())


async def complete_effect(session: AsyncSession, deliveries: Sequence[Delivery], result: JSON) -> None:
    """Note when a handler that took its time ended, and what it returned."""
    await session.execute(
        COMPLETE_EFFECT,
        {
            "days": [delivery.day for delivery in deliveries],
            "event_ids": [delivery.event.event_id for delivery in deliveries],
            "handler": deliveries[0].handler.name,
            "result": None if result is None else json.dumps(result),
        },
    )


async def claim_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """Take the resource, or take it over where its lease has run out; False: somebody else holds it."""
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


async def claim_long(session: AsyncSession, delivery: Delivery, lease: Lease, place: Place) -> bool:
    """Take custody of a long delivery, its record included; False: it ran, runs, or has moved on."""
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
    """Lock the lease's row for this transaction; False: it is lost, nothing here may commit."""
    row = await session.execute(LOCK_LEASE, {"resource": lease.resource, "token": lease.token})
    return row.first() is not None


async def extend_lease(session: AsyncSession, delivery: Delivery, lease: Lease) -> bool:
    """A heartbeat; False: the lease is lost."""
    held = await session.execute(
        EXTEND_LEASE, {"resource": lease.resource, "token": lease.token, "seconds": lease.seconds}
    )
    if held.rowcount == 0:  # type: ignore[attr-defined]  # an UPDATE's result is a CursorResult
        return False
    await session.execute(EXTEND_EXECUTION, {**identity(delivery), "token": lease.token, "seconds": lease.seconds})
    return True


async def drop_lease(session: AsyncSession, lease: Lease) -> None:
    """Let the resource go."""
    await session.execute(DROP_LEASE, {"resource": lease.resource, "token": lease.token})


async def note_result(session: AsyncSession, delivery: Delivery, result: JSON) -> None:
    """Add what a handler returned to the row of a delivery that has succeeded."""
    await session.execute(NOTE_RESULT, {**identity(delivery), "result": json.dumps(result)})


async def drop_expired_lease(session: AsyncSession, lease: Lease) -> None:
    """Let the resource of a worker that went away go, unless somebody took it over or a heartbeat came after all."""
    await session.execute(DROP_EXPIRED_LEASE, {"resource": lease.resource, "token": lease.token})


async def finish_long(session: AsyncSession, delivery: Delivery, lease: Lease, result: JSON) -> None:
    """A long delivery's success, in a transaction that holds its lease."""
    await session.execute(
        FINISH_LONG,
        {
            **identity(delivery),
            "token": lease.token,
            "result": None if result is None else json.dumps(result),
        },
    )
    await drop_lease(session, lease)


async def lock_execution(session: AsyncSession, delivery: Delivery, place: Place, started_at: datetime) -> RowMapping:
    """The delivery's row, made where there was none, locked until the transaction ends."""
    await session.execute(
        INSERT_IF_MISSING,
        {
            **identity(delivery),
            **description(delivery, place),
            "seq": delivery.seq,
            "attempts": delivery.attempts,
            "started_at": started_at,
        },
    )
    row = await session.execute(LOCK_EXECUTION, identity(delivery))
    return row.mappings().one()


async def bury(session: AsyncSession, event_id: UUID, handler: str, reason: str, error: str) -> None:
    """Note the death of a delivery whose handler is unknown here, where it has a row."""
    made_at = event_time(event_id)
    if made_at is not None:
        await session.execute(
            BURY,
            {
                "day": made_at.date(),
                "event_id": event_id,
                "handler": handler,
                "reason": reason,
                "error": storable(error),
            },
        )


def identity(delivery: Delivery) -> dict[str, object]:
    """The primary key of a delivery's row."""
    return {"day": delivery.day, "event_id": delivery.event.event_id, "handler": delivery.handler.name}


def description(delivery: Delivery, place: Place) -> dict[str, object]:
    """The columns that say what a delivery is and never change."""
    return {
        "task_id": delivery.task_id,
        "topic": delivery.origin.topic,
        "partition": delivery.origin.partition,
        "offset": delivery.origin.offset,
        "key": delivery.record.key,
        "tenant_id": storable(delivery.event.tenant_id),
        "pool": place.pool,
        "priority": place.priority,
        "worker": place.worker,
        "args": args_json(delivery),
        "created_at": at_ms(delivery.origin.timestamp),
    }


def args_json(delivery: Delivery) -> str:
    """The event as JSON, without what the row has already."""
    return delivery.event.model_dump_json(exclude={"event_id", "tenant_id"}).replace("\\u0000", "\\ufffd")


def storable(value: str | None) -> str | None:
    """Text that PostgreSQL takes: it has no NUL character, so a bad event must not fail on its own bookkeeping."""
    return None if value is None else value.replace("\x00", "\ufffd")


def attempt_entry(run: int, started_at: datetime, outcome: str, error: str | None, worker: str) -> str:
    """One object of `history`, as a JSON array of one."""
    return json.dumps(
        [
            {
                "attempt": run,
                "started_at": started_at.isoformat(),
                "completed_at": at_ms(now_ms()).isoformat(),
                "outcome": outcome,
                "error": error,
                "worker": worker,
            }
        ]
    )


def headers_json(record_headers: Headers) -> str:
    """Headers for a JSON column."""
    return json.dumps(headers_to_json(record_headers))
