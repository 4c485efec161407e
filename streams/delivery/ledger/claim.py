"""Claims deliveries of single and batch handlers: the first statement of their transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.pg_arrays import array_text, byte_array_text
from streams.delivery.delivery import Delivery, at_ms
from streams.delivery.handler import JSON
from streams.delivery.ledger.columns import WorkerIdentity, args_json, result_json, storable

_FROM_ARRAYS = """
    from unnest(
        cast(:days as date[]), cast(:event_ids as uuid[]), cast(:task_ids as uuid[]), cast(:topics as text[]),
        cast(:partitions as int[]), cast(:offsets as bigint[]), cast(:keys as bytea[]), cast(:tenants as text[]),
        cast(:args as text[]), cast(:traces as uuid[]), cast(:seqs as int[]), cast(:runs as int[]),
        cast(:created as timestamptz[])
    ) as d(day, event_id, task_id, topic, partition, "offset", key, tenant_id, args, trace_id, seq, run, created_at)
"""

CLAIM_EFFECT = text(
    """
    insert into streams.executions as e (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, priority, args,
        trace_id, status, seq, attempts, created_at, started_at, completed_at, worker, history
    )
    select d.day, d.event_id, :handler, d.task_id, d.topic, d.partition, d."offset", d.key, d.tenant_id, :pool,
        :priority, cast(d.args as jsonb), d.trace_id, 'success', d.seq, d.run, d.created_at, clock_timestamp(),
        clock_timestamp(), :worker, jsonb_build_array(jsonb_build_object('attempt', d.run,
            'started_at', clock_timestamp(), 'completed_at', clock_timestamp(), 'outcome', 'success',
            'worker', cast(:worker as text)))
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
"""Claims deliveries and writes their success at once: the rows become visible only with the handler's commit."""

INSERT_DEFERRED = text(
    """
    insert into streams.executions (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, priority, args,
        trace_id, status, seq, attempts, created_at, due_at, worker, history
    )
    select d.day, d.event_id, :handler, d.task_id, d.topic, d.partition, d."offset", d.key, d.tenant_id, :pool,
        :priority, cast(d.args as jsonb), d.trace_id, 'retry', d.seq, d.run - 1, d.created_at, :due_at,
        :worker, jsonb_build_array(jsonb_build_object('attempt', d.run, 'started_at', clock_timestamp(),
            'completed_at', clock_timestamp(), 'outcome', 'deferred', 'worker', cast(:worker as text)))
    """
    + _FROM_ARRAYS
    + """
    order by d.event_id
    on conflict do nothing
    """
)
"""Shows deliveries that a pause or an open breaker blocks. A claim with the same `seq` replaces the row."""

COMPLETE_EFFECT = text(
    """
    update streams.executions set completed_at = clock_timestamp(), result = cast(:result as jsonb),
        history = jsonb_set(history, '{-1,completed_at}', to_jsonb(clock_timestamp()))
    where day = any(:days) and event_id = any(:event_ids) and handler = :handler
    """
)


async def claim_effect(session: AsyncSession, deliveries: Sequence[Delivery], identity: WorkerIdentity) -> set[UUID]:
    """Claim deliveries, and return the ids of the events to run. The others ran before, or have a newer record.

    Args:
        session: The handler's transaction, in which this is the first statement.
        deliveries: Deliveries of one handler, with distinct events.
        identity: Who runs them.
    """
    rows = await session.execute(
        CLAIM_EFFECT,
        {
            "handler": deliveries[0].handler.name,
            "pool": identity.pool,
            "priority": identity.priority,
            "worker": identity.worker,
            **_columns(deliveries),
        },
    )
    return set(rows.scalars())


async def insert_deferred(
    session: AsyncSession, deliveries: Sequence[Delivery], identity: WorkerIdentity, due_at: datetime
) -> None:
    """Write the rows of deliveries that were deferred before their first attempt; existing rows stay.

    Args:
        session: A transaction.
        deliveries: Deliveries of one handler.
        identity: Who defers them.
        due_at: When they are checked again.
    """
    await session.execute(
        INSERT_DEFERRED,
        {
            "handler": deliveries[0].handler.name,
            "pool": identity.pool,
            "priority": identity.priority,
            "worker": identity.worker,
            "due_at": due_at,
            **_columns(deliveries),
        },
    )


def _columns(deliveries: Sequence[Delivery]) -> dict[str, str]:
    """Return the arrays that `_FROM_ARRAYS` unnests: one row per delivery."""
    origins = [delivery.origin for delivery in deliveries]
    return {
        "days": array_text(delivery.day for delivery in deliveries),
        "event_ids": array_text(delivery.event.event_id for delivery in deliveries),
        "task_ids": array_text(delivery.task_id for delivery in deliveries),
        "topics": array_text(origin.topic for origin in origins),
        "partitions": array_text(origin.partition for origin in origins),
        "offsets": array_text(origin.offset for origin in origins),
        "keys": byte_array_text(delivery.record.key for delivery in deliveries),
        "tenants": array_text(storable(delivery.event.tenant_id) for delivery in deliveries),
        "args": array_text(args_json(delivery) for delivery in deliveries),
        "traces": array_text(delivery.trace_id for delivery in deliveries),
        "seqs": array_text(delivery.seq for delivery in deliveries),
        "runs": array_text(delivery.run_number for delivery in deliveries),
        "created": array_text(at_ms(origin.timestamp) for origin in origins),
    }


async def complete_effect(session: AsyncSession, deliveries: Sequence[Delivery], result: JSON) -> None:
    """Write when a handler ended, and what it returned.

    Args:
        session: The handler's transaction.
        deliveries: Deliveries of one handler, claimed in this transaction.
        result: What the handler returned.
    """
    await session.execute(
        COMPLETE_EFFECT,
        {
            "days": [delivery.day for delivery in deliveries],
            "event_ids": [delivery.event.event_id for delivery in deliveries],
            "handler": deliveries[0].handler.name,
            "result": result_json(result),
        },
    )
