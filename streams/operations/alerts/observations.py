"""Reads what the ledger's database knows: dead letters that were not replayed, and missed slots."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MOST_COUNTED = 1_000
"""At this number of dead letters in one DLQ, counting ends, unless the threshold is higher."""
MOST_PAIRS = 500
"""Handlers and types of errors in one check."""

DEPTHS = text(
    """
    with recursive topics as (
        (select dlq_topic from streams.dead_letters where replayed_at is null order by dlq_topic limit 1)
        union all
        select (
            select dlq_topic from streams.dead_letters where replayed_at is null and dlq_topic > topics.dlq_topic
            order by dlq_topic limit 1
        )
        from topics where topics.dlq_topic is not null
    )
    select dlq_topic, (
        select count(*) from (
            select from streams.dead_letters as letter
            where letter.replayed_at is null and letter.dlq_topic = topics.dlq_topic
            order by letter.died_at limit :most
        ) as counted
    ) as depth
    from topics where dlq_topic is not null
    """
)
"""Walks the index `dead_letters_waiting_topic` from one DLQ to the next."""
PAIRS = text(
    """
    with recursive pairs as (
        (
            select left(coalesce(handler, ''), 200) as handler, left(error_type, 200) as error_type, 1 as number
            from streams.dead_letters where replayed_at is null
            order by left(coalesce(handler, ''), 200), left(error_type, 200) limit 1
        )
        union all
        select following.handler, following.error_type, pairs.number + 1
        from pairs cross join lateral (
            select left(coalesce(handler, ''), 200) as handler, left(error_type, 200) as error_type
            from streams.dead_letters
            where replayed_at is null
                and (left(coalesce(handler, ''), 200), left(error_type, 200)) > (pairs.handler, pairs.error_type)
            order by left(coalesce(handler, ''), 200), left(error_type, 200) limit 1
        ) as following
        where pairs.number < :most
    )
    select pairs.handler, pairs.error_type, last.id, last.error_message
    from pairs cross join lateral (
        select id, error_message from streams.dead_letters
        where replayed_at is null
            and left(coalesce(handler, ''), 200) = pairs.handler and left(error_type, 200) = pairs.error_type
        order by died_at desc limit 1
    ) as last
    """
)
"""Walks the index `dead_letters_waiting` from one handler and type of error to the next."""
MISSED = text(
    """
    select schedule, count(*) as number, max(slot) as last from streams.slots
    where claimed_at > clock_timestamp() - make_interval(secs => :seconds) and status = 'missed'
    group by schedule order by schedule
    """
)


@dataclass(frozen=True, slots=True)
class DeadLetterPair:
    """A handler and a type of error that have a dead letter which was not replayed."""

    handler: str
    """Empty: the record could not be read."""
    error_type: str
    last_id: str
    """The newest one."""
    message: str


@dataclass(frozen=True, slots=True)
class MissedSlots:
    """The slots of a schedule that were too late to run."""

    schedule: str
    count: int
    last: datetime


async def dead_letter_depths(session: AsyncSession, most: int) -> dict[str, int]:
    """Return the number of dead letters that were not replayed, at most `most`, by DLQ."""
    rows = await session.execute(DEPTHS, {"most": most})
    return {row.dlq_topic: row.depth for row in rows}


async def dead_letter_pairs(session: AsyncSession) -> list[DeadLetterPair]:
    """Return the handlers and types of errors that have dead letters which were not replayed, at most `MOST_PAIRS`.

    Dead letters that the DLQ's retention has deleted are not in the index any more.
    """
    rows = await session.execute(PAIRS, {"most": MOST_PAIRS})
    return [DeadLetterPair(row.handler, row.error_type, row.id, row.error_message) for row in rows]


async def missed_slots(session: AsyncSession, seconds: float) -> Sequence[MissedSlots]:
    """Return the schedules with slots that were recorded as missed within the last seconds."""
    rows = await session.execute(MISSED, {"seconds": seconds})
    return [MissedSlots(row.schedule, row.number, row.last) for row in rows]
