"""The ledger's partitions on a real PostgreSQL: made in time, dropped without a wait, never under work in progress."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schemas.event import new_event_id
from streams.database import database_url
from streams.database.partitions import (
    Dropped,
    drop_partition,
    ensure_partitions,
    other_partitions,
    partition_days,
    partition_name,
)
from streams.runtime.ledger_retention import GRACE_DAYS, LedgerRetention
from streams.settings import Settings
from streams.topics import DLQ_RETENTION
from tests.support.processes.worker_process import wait_for

TODAY = date(2026, 3, 1)
ROW = """
    insert into streams.executions
        (day, event_id, handler, task_id, topic, partition, "offset", pool, status, created_at)
    values (:day, :id, 'h', :id, 't', 0, 0, 'p', :status, now())
"""
SLOT = """
    insert into streams.slots (schedule, slot, kind, status, claimed_at)
    values ('s', to_timestamp(:slot), 'timer', :status, clock_timestamp() - cast(:age as interval))
"""
LETTER = """
    insert into streams.dead_letters (id, dlq_topic, dlq_partition, dlq_offset, topic, partition, "offset", reason,
        error_type, error_message, attempts, first_failed_at, died_at)
    select topic || ':0:' || number, topic, 0, number, 't', 0, 0, 'decode', '', '', 0, now(),
        now() - cast(:age as interval)
    from unnest(cast(array['a', 'b', 'c'] as text[])) topic
        cross join generate_series(cast(:first as int), cast(:last as int)) number
"""


def drop(engine: Engine, day: date) -> Dropped:
    with engine.begin() as connection:
        return drop_partition(connection, day)


def days_of(engine: Engine) -> set[date]:
    with engine.connect() as connection:
        return partition_days(connection)


def execute(engine: Engine, sql: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(text(sql), values)


def async_engine(settings: Settings) -> AsyncEngine:
    return create_async_engine(database_url(settings))


@contextmanager
def backup(engine: Engine) -> Iterator[None]:
    """Hold locks like `pg_dump`: ACCESS SHARE on every table of the ledger, for the duration of the block."""
    with engine.connect() as connection, connection.begin():
        connection.execute(text("select 1 from streams.executions limit 1"))
        yield


def test_old_days_go_and_only_they(engine: Engine) -> None:
    with engine.begin() as connection:
        ensure_partitions(connection, TODAY, back_days=3, ahead_days=0)
    assert [drop(engine, TODAY - timedelta(days=ago)) for ago in (3, 2)] == ["dropped", "dropped"]
    days = days_of(engine)
    assert min(days) == TODAY - timedelta(days=1)
    assert datetime.now(tz=UTC).date() in days


@pytest.mark.requirement("Faults of others", "R10: a day with a long delivery's record is kept")
def test_a_day_with_a_started_delivery_is_kept(engine: Engine) -> None:
    """Its record is only in the row. Finished deliveries, and those whose record is in a tier, keep no day."""
    with engine.begin() as connection:
        ensure_partitions(connection, TODAY, back_days=1, ahead_days=0)
    for day, statuses in (
        (TODAY, ("success", "started")),
        (TODAY - timedelta(days=1), ("success", "failure", "retry")),
    ):
        for status in statuses:
            execute(engine, ROW, day=day, id=new_event_id(), status=status)
    assert drop(engine, TODAY) == "unfinished"
    assert drop(engine, TODAY - timedelta(days=1)) == "dropped"
    execute(engine, "update streams.executions set status = 'success' where day = :day", day=TODAY)
    assert drop(engine, TODAY) == "dropped"


@pytest.mark.requirement("Faults of others", "R9: dropping a day stalls no delivery while a backup reads the ledger")
def test_sixteen_workers_that_drop_a_day_under_a_backup_stall_nobody(engine: Engine) -> None:
    """Claims continue: the longest takes less than 0.3 s more than without the workers. The day stays."""
    with engine.begin() as connection:
        ensure_partitions(connection, TODAY, back_days=0, ahead_days=1)
    stop = threading.Event()
    took: list[float] = []

    def claim() -> None:
        with engine.connect() as connection:
            while not stop.is_set():
                began = time.monotonic()
                with connection.begin():
                    values = {"day": TODAY + timedelta(days=1), "id": new_event_id(), "status": "success"}
                    connection.execute(text(ROW), values)
                took.append(time.monotonic() - began)

    claims = threading.Thread(target=claim)
    with backup(engine), ThreadPoolExecutor(16) as pool:
        claims.start()
        wait_for(lambda: took, "a claim before the drops")
        results = set(pool.map(lambda _: drop(engine, TODAY), range(16)))
        before = len(took)
        wait_for(lambda: len(took) > before, "a claim after them")
        stop.set()
        claims.join()
    assert results <= {"in use", "busy"}
    assert "in use" in results
    assert max(took) < 1.0
    assert TODAY in days_of(engine)


def test_partitions_made_from_two_places_at_once(engine: Engine) -> None:
    def make(_: int) -> list[date]:
        with engine.begin() as connection:
            return ensure_partitions(connection, TODAY, back_days=2, ahead_days=3)

    with ThreadPoolExecutor(4) as pool:
        made = [day for days in pool.map(make, range(4)) for day in days]
    assert sorted(made) == [TODAY + timedelta(days=offset) for offset in range(-2, 4)]
    assert set(made) <= days_of(engine)


def test_a_partition_is_made_while_a_delivery_holds_the_ledger(engine: Engine) -> None:
    """Attaching a partition waits for no reader or writer, and none waits for it."""
    with engine.begin() as busy:
        busy.execute(text("lock table streams.executions in row exclusive mode"))
        with engine.begin() as connection:
            connection.execute(text("set local lock_timeout = '1s'"))
            assert ensure_partitions(connection, TODAY, back_days=0, ahead_days=0) == [TODAY]


IN_THE_WAY = {
    "a default partition with rows of the day": (
        "create table streams.executions_default partition of streams.executions default",
        ROW.replace(":day", "'2026-03-01'").replace(":id", "gen_random_uuid()").replace(":status", "'success'"),
    ),
    "a partition of the month": (
        """
        create table streams.executions_2026_03 partition of streams.executions
            for values from ('2026-03-01') to ('2026-04-01')
        """,
    ),
    "a table of its name": (f"create table streams.{partition_name(TODAY)} (id int)",),
}


@pytest.mark.requirement("Faults of others", "R19: an administrator's partitions and tables end no worker")
@pytest.mark.parametrize("what", IN_THE_WAY)
async def test_what_an_administrator_adds_stops_nothing(what: str, engine: Engine, settings: Settings) -> None:
    """The other days are created and dropped; what is in the way is left alone."""
    for statement in IN_THE_WAY[what]:
        execute(engine, statement)
    with engine.begin() as connection:
        made = ensure_partitions(connection, TODAY, back_days=1, ahead_days=0)
        others = other_partitions(connection)
    assert made == [TODAY - timedelta(days=1)]
    database = async_engine(settings)
    try:
        await LedgerRetention(database, 3).maintain()
    finally:
        await database.dispose()
    assert TODAY - timedelta(days=1) not in days_of(engine)
    with engine.connect() as connection:
        assert other_partitions(connection) == others


async def test_the_retention_has_a_day_of_grace(engine: Engine, settings: Settings) -> None:
    """A delivery that waits in a window at midnight still has its day."""
    with engine.begin() as connection:
        ensure_partitions(connection, TODAY, back_days=6, ahead_days=0)
    database = async_engine(settings)
    try:
        await LedgerRetention(database, 3).maintain(TODAY)
    finally:
        await database.dispose()
    assert min(days_of(engine)) == TODAY - timedelta(days=3 + GRACE_DAYS)


@pytest.mark.requirement("Faults of others", "R21: the index of dead letters is pruned")
async def test_rows_of_dead_letters_past_their_retention_go(engine: Engine, settings: Settings) -> None:
    """Of every DLQ, in parts; younger ones stay."""
    kept = timedelta(seconds=DLQ_RETENTION)
    execute(engine, LETTER, age=kept + timedelta(hours=1), first=1, last=6_000)
    execute(engine, LETTER, age=kept - timedelta(hours=1), first=7_001, last=7_010)
    database = async_engine(settings)
    try:
        await LedgerRetention(database, 3).maintain()
    finally:
        await database.dispose()
    with engine.connect() as connection:
        left = connection.execute(text("select count(*), min(dlq_offset) from streams.dead_letters")).one()
    assert tuple(left) == (30, 7_001)


@pytest.mark.requirement("Schedules", "the history of slots is kept as long as executions")
async def test_old_slots_go_and_those_that_have_not_ended_stay(engine: Engine, settings: Settings) -> None:
    execute(engine, SLOT, age=timedelta(days=5), status="success", slot=1)
    execute(engine, SLOT, age=timedelta(days=5), status="started", slot=2)
    execute(engine, SLOT, age=timedelta(days=2), status="success", slot=3)
    database = async_engine(settings)
    try:
        await LedgerRetention(database, 3).maintain()
    finally:
        await database.dispose()
    with engine.connect() as connection:
        found = connection.execute(text("select extract(epoch from slot)::int from streams.slots order by 1"))
        assert list(found.scalars()) == [2, 3]


@pytest.mark.requirement("Faults of others", "R27: the retention has a bound, and the server has locks for it")
def test_the_longest_retention_needs_no_more_locks_than_a_server_has(engine: Engine) -> None:
    """More days are refused. With the most days, several statements over all of them run at the same time."""
    with pytest.raises(ValidationError, match="less than or equal to 90"):
        Settings(ledger_retention_days=91)
    with engine.begin() as connection:
        ensure_partitions(connection, datetime.now(tz=UTC).date(), back_days=90)
        assert len(partition_days(connection)) >= 105
    held = [engine.connect() for _ in range(4)]
    try:
        for connection in held:
            connection.execute(text("select 1 from streams.executions where status = 'started' limit 1"))
    finally:
        for connection in held:
            connection.close()
