"""Keeps the tables of schema `streams` at their retention: days of the ledger, dead letters that exist, slots."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.database.partitions import drop_partition, ensure_partitions, other_partitions, partition_days
from streams.observability.logs import get_logger
from streams.schedules.statements import DELETE_OLD_SLOTS
from streams.topics import DLQ_RETENTION

log = get_logger(__name__)
GRACE_DAYS = 1
"""Days that a partition stays after its events are too old to be accepted: deliveries may wait in a worker's window."""
PRUNED_AT_ONCE = 5_000
"""Rows that one statement deletes: of slots, and of the index of dead letters per DLQ."""

PRUNE = text(
    """
    with recursive topics as (
        select min(dlq_topic) as topic from streams.dead_letters
        union all
        select (select min(dlq_topic) from streams.dead_letters where dlq_topic > topics.topic)
        from topics where topics.topic is not null
    )
    delete from streams.dead_letters where id in (
        select letter.id from topics cross join lateral (
            select id from streams.dead_letters where dlq_topic = topics.topic and died_at < :before
            order by died_at limit :limit for update skip locked
        ) letter
    )
    """
)
"""Deletes old rows of each DLQ by the index on the topic and the time, so that it reads no other rows."""


class LedgerRetention:
    """The retention of one database. Several workers can run it at the same time."""

    def __init__(self, bookkeeping: AsyncEngine, retention_days: int) -> None:
        """Create it.

        Args:
            bookkeeping: The database.
            retention_days: Days that executions are kept.
        """
        self._bookkeeping = bookkeeping
        self._days = retention_days
        self._others: list[str] = []

    async def maintain(self, today: date | None = None) -> None:
        """Create missing partitions, drop old ones and old rows of the index of dead letters."""
        day = today or datetime.now(tz=UTC).date()
        async with self._bookkeeping.begin() as connection:
            await connection.run_sync(ensure_partitions, day, self._days)
        await self._drop_old_days(day - timedelta(days=self._days + GRACE_DAYS))
        await self._prune_dead_letters()
        await self._prune_slots()

    async def _drop_old_days(self, before: date) -> None:
        """Drop the partitions of days before this one. A refusal ends it: the next run is soon enough."""
        async with self._bookkeeping.connect() as connection:
            days = await connection.run_sync(partition_days)
            others = await connection.run_sync(other_partitions)
        if others != self._others:
            self._others = others
            log.warning("the ledger has partitions that this version did not create; they are left alone", names=others)
        for day in sorted(one for one in days if one < before):
            async with self._bookkeeping.begin() as connection:
                dropped = await connection.run_sync(drop_partition, day)
            log.info("old partition of the ledger", day=day.isoformat(), result=dropped)
            if dropped in {"busy", "in use"}:
                return

    async def _prune_dead_letters(self) -> None:
        """Delete the rows of dead letters whose records have passed the retention of their DLQ."""
        before = datetime.now(tz=UTC) - timedelta(seconds=DLQ_RETENTION)
        while True:
            async with self._bookkeeping.begin() as connection:
                deleted = await connection.execute(PRUNE, {"before": before, "limit": PRUNED_AT_ONCE})
            if deleted.rowcount < PRUNED_AT_ONCE:
                return

    async def _prune_slots(self) -> None:
        """Delete the slots of schedules that are older than the executions that they name."""
        before = datetime.now(tz=UTC) - timedelta(days=self._days + GRACE_DAYS)
        while True:
            async with self._bookkeeping.begin() as connection:
                deleted = await connection.execute(DELETE_OLD_SLOTS, {"before": before, "limit": PRUNED_AT_ONCE})
            if deleted.rowcount < PRUNED_AT_ONCE:
                return
