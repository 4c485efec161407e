"""The ledger's statements for settling: lock the row, note how the attempt ended, index a dead letter."""

import json
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas.event import event_time
from streams.delivery.delivery import Delivery, at_ms, origin_of
from streams.delivery.ledger.columns import WorkerIdentity, description, identity, storable
from streams.delivery.settlement.records import DeadLetterInfo
from streams.transport.kafka.records import Record, RecordMetadata

FINAL = ("success", "failure")

HISTORY_LIMIT = 50
"""Attempts and deferrals that a row remembers; the oldest give way."""

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


async def lock_execution(
    session: AsyncSession, delivery: Delivery, place: WorkerIdentity, started_at: datetime
) -> RowMapping:
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
                "handler": storable(handler),
                "reason": reason,
                "error": storable(error),
            },
        )


def attempt_entry(run: int, times: tuple[datetime, datetime], outcome: str, error: str | None, worker: str) -> str:
    """One object of `history`, as a JSON array of one; `times`: when the attempt started and ended."""
    started_at, ended_at = times
    return json.dumps(
        [
            {
                "attempt": run,
                "started_at": started_at.isoformat(),
                "completed_at": ended_at.isoformat(),
                "outcome": outcome,
                "error": error,
                "worker": worker,
            }
        ]
    )


def dead_letter_row(
    record: Record, placed: RecordMetadata, death: DeadLetterInfo, tenant_id: str | None
) -> dict[str, object]:
    """The columns of `streams.dead_letters` for a record that is in its DLQ."""
    origin = origin_of(record)
    return {
        "id": f"{placed.topic}:{placed.partition}:{placed.offset}",
        "dlq_topic": placed.topic,
        "dlq_partition": placed.partition,
        "dlq_offset": placed.offset,
        "topic": storable(origin.topic),
        "partition": origin.partition,
        "offset": origin.offset,
        "event_id": death.event_id,
        "handler": storable(death.handler),
        "tenant_id": storable(tenant_id),
        "reason": death.reason,
        "error_type": death.error.type_name,
        "error_message": storable(death.error.message),
        "attempts": death.attempts,
        "first_failed_at": at_ms(death.first_failed_at),
        "died_at": at_ms(death.died_at),
    }
