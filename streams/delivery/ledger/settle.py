"""The ledger's statements for settlements: lock the row, write the outcome, index a dead letter."""

import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from schemas.event import event_time
from streams.delivery.delivery import Delivery
from streams.delivery.errors import DayDroppedError
from streams.delivery.ledger.columns import WorkerIdentity, fixed_columns, primary_key, storable

FINAL = ("success", "failure")
_CHECK_VIOLATION = "23514"
"""PostgreSQL's code for a row that no partition accepts. The ledger's other check is on `status`, which we write."""

HISTORY_LIMIT = 50
"""Number of attempts and deferrals in a row's history; older ones are removed."""

INSERT_IF_MISSING = text(
    """
    insert into streams.executions (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, priority, args,
        trace_id, status, seq, attempts, created_at, started_at, worker
    )
    values (
        :day, :event_id, :handler, :task_id, :topic, :partition, :offset, :key, :tenant_id, :pool, :priority,
        cast(:args as jsonb), :trace_id, 'retry', :seq, :attempts, :created_at, :started_at, :worker
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

WAS_SETTLED = text(
    """
    select history @> cast(:entry as jsonb) from streams.executions
    where day = :day and event_id = :event_id and handler = :handler
    """
)

MARK_DEAD = text(
    """
    update streams.executions set status = 'failure', reason = :reason, error = :error, due_at = null,
        completed_at = clock_timestamp()
    where day = :day and event_id = :event_id and handler = :handler and status = 'retry'
    """
)
"""Ends a waiting delivery whose handler is unknown: a replay needs the status `failure`."""

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
    on conflict (id) do update set
        topic = excluded.topic, partition = excluded.partition, "offset" = excluded."offset",
        event_id = excluded.event_id, handler = excluded.handler, tenant_id = excluded.tenant_id,
        reason = excluded.reason, error_type = excluded.error_type, error_message = excluded.error_message,
        attempts = excluded.attempts, first_failed_at = excluded.first_failed_at, died_at = excluded.died_at,
        replayed_at = null
    where dead_letters.died_at < excluded.died_at
    """
)
"""The newer dead letter wins: if a DLQ topic is created again, its offsets, and so the ids, begin again."""


async def lock_execution(
    session: AsyncSession,
    delivery: Delivery,
    identity: WorkerIdentity,
    started_at: datetime,
    *,
    with_args: bool = True,
) -> RowMapping:
    """Return the delivery's row, inserted if missing, locked until the transaction ends.

    Args:
        session: The settling transaction.
        delivery: Whose row it is.
        identity: Who settles it.
        started_at: When the attempt began.
        with_args: Whether an inserted row has the event's arguments.

    Raises:
        DayDroppedError: The row cannot exist any more. The transaction has failed.
    """
    values = {
        **primary_key(delivery),
        **fixed_columns(delivery, identity, with_args=with_args),
        "seq": delivery.seq,
        "attempts": delivery.attempts,
        "started_at": started_at,
    }
    try:
        await session.execute(INSERT_IF_MISSING, values)
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != _CHECK_VIOLATION:
            raise
        message = f"the ledger has no rows of {delivery.day} any more"
        raise DayDroppedError(message) from error
    row = await session.execute(LOCK_EXECUTION, primary_key(delivery))
    return row.mappings().one()


async def was_settled(session: AsyncSession, delivery: Delivery, entry: Mapping[str, object]) -> bool:
    """Return whether the locked row has this entry in its history.

    After a COMMIT without a reply this shows whether it succeeded. Later attempts may follow the entry.
    """
    row = await session.execute(WAS_SETTLED, {**primary_key(delivery), "entry": json.dumps([entry])})
    return bool(row.scalar())


async def settle(session: AsyncSession, values: Mapping[str, object]) -> None:
    """Write the outcome of an attempt; `values` comes from `settled_values`."""
    await session.execute(SETTLE, {**values, "history_limit": HISTORY_LIMIT})


async def index_dead_letter(session: AsyncSession, row: Mapping[str, object]) -> None:
    """Insert a dead letter's row, which comes from `dead_letter_row`. It replaces an older one with the same id."""
    await session.execute(INSERT_DEAD_LETTER, dict(row))


async def mark_dead(session: AsyncSession, event_id: UUID, handler: str, reason: str, error: str) -> None:
    """Set the row of a delivery without a known handler to `failure`, if there is one.

    Args:
        session: The transaction that indexes its dead letter.
        event_id: The event's.
        handler: The name in its retry record.
        reason: As in the dead letter.
        error: As in the dead letter.
    """
    made_at = event_time(event_id)
    if made_at is not None:
        await session.execute(
            MARK_DEAD,
            {
                "day": made_at.date(),
                "event_id": event_id,
                "handler": storable(handler),
                "reason": reason,
                "error": storable(error),
            },
        )
