"""Deletes old entries of the embedding cache.

The table is read by its index on created_at. An entry has no time of its last use, so its age is that of its creation;
a text that is embedded again gets a new entry.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import disable_sequential_scans
from streams.dify.retention.position import Position, parse_position
from streams.dify.retention.step import RetentionStep, TimeBudget

ROWS_PER_BATCH = 5_000
"""The number of entries that one statement deletes."""
# An entry that an indexing is writing is skipped. So the two never wait for each other in a circle.
_DELETE = text(
    """
    with old as materialized (
        select id, created_at from embeddings
        where created_at < :cutoff and (created_at, id) > (cast(:created_at as timestamp), cast(:id as uuid))
        order by created_at, id limit :rows
        for update skip locked
    ), gone as (
        delete from embeddings where id = any(array(select id from old)) returning id
    )
    select last.created_at, cast(last.id as text), (select count(*) from old), (select count(*) from gone)
    from (select created_at, id from old order by created_at desc, id desc limit 1) as last
    """
)


async def delete_old_embeddings(
    session: AsyncSession, cutoff: datetime, cursor: str | None, budget: TimeBudget
) -> RetentionStep:
    """Delete entries that were created before the cutoff, oldest first, until the budget is spent.

    Args:
        session: the transaction of the step.
        cutoff: younger entries stay.
        cursor: where the step before ended.
        budget: the time of this step.

    Raises:
        RefusedError: the cursor is invalid.
    """
    step, position = RetentionStep(), parse_position(cursor)
    await disable_sequential_scans(session)
    while True:
        parameters = {
            "cutoff": cutoff,
            "created_at": position.created_at,
            "id": position.id,
            "rows": ROWS_PER_BATCH,
        }
        found = (await session.execute(_DELETE, parameters)).one_or_none()
        if found is None:
            return step
        created_at, last, seen, removed = found
        position = Position(created_at, last)
        step.removed["embeddings"] += removed
        if seen < ROWS_PER_BATCH:
            return step
        if budget.is_spent:
            step.cursor = str(position)
            return step
