"""A clock of schedules on a real database, without a worker around it; and what a test reads and writes of slots."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.event import event_time
from streams.codec import build_codec
from streams.database import Database
from streams.database.tables import dead_letters
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.operations.dead_letters.index import DeadLetter
from streams.operations.dead_letters.replay import replay
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.runtime.schedules import handlers_with_rows
from streams.schedules.clock import ScheduleClock
from streams.schedules.schedule import Schedule
from streams.schedules.slots import next_slot
from streams.settings import Settings
from streams.transport.kafka.records import Record
from tests.support.processes.worker_process import rows

TOPIC = "trial.single-requested"
HOUR = 3600.0


def often(**fields: object) -> Schedule:
    """Return a schedule of a trial event. Its slots are about an hour apart, and the last one is half an hour ago."""
    now = time.time()
    schedule = Schedule("often", TOPIC, {"entity": "e"}, every=now / (now // HOUR + 0.5), catch_up=HOUR)
    return replace(schedule, **fields)  # type: ignore[arg-type]  # the caller names fields of the class


@asynccontextmanager
async def open_clock(settings: Settings, worker: str = "a-worker") -> AsyncIterator[tuple[ScheduleClock, AsyncEngine]]:
    """Open a clock and its connections for the duration of the block."""
    catalogue = build_catalogue(settings)
    database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=4)
    schemas = SchemaLoader(BreakerRegistry([]), lambda _error: None)
    clock = ScheduleClock(
        database.bookkeeping,
        catalogue=catalogue,
        codec=build_codec(settings, catalogue, blocking=False),
        schemas=schemas,
        handled=handlers_with_rows(catalogue, build_handlers(settings)),
        worker=worker,
    )
    try:
        yield clock, database.bookkeeping
    finally:
        schemas.close()
        await database.dispose()


def set_next_slot(engine: Engine, name: str, seconds_ago: float) -> datetime:
    """Make the last slot that is at least so long ago the next one of an interval. Returns it."""
    (row,) = rows(engine, "select every from streams.schedules where name = :name", name=name)
    every = float(str(row["every"]))
    slot = next_slot(often(every=every), datetime.now(tz=UTC) - timedelta(seconds=seconds_ago + every))
    with engine.begin() as connection:
        statement = text("update streams.schedules set next_slot = :slot where name = :name")
        connection.execute(statement, {"name": name, "slot": slot})
    return slot


def end_run(engine: Engine, slot: datetime, status: str = "success", handler: str = "try-single") -> None:
    """Write the execution of a slot's event, as the delivery would."""
    statement = text(
        """
        insert into streams.executions (day, event_id, handler, task_id, topic, partition, "offset", pool, status,
            created_at, completed_at, error)
        select cast(:day as date), event_id, :handler, gen_random_uuid(), topic, 0, 0, 'default', :status, now(),
            clock_timestamp(), case when :status = 'failure' then 'it broke' end
        from streams.slots where slot = :slot
        """
    )
    with engine.begin() as connection:
        event_id = connection.execute(text("select event_id from streams.slots where slot = :slot"), {"slot": slot})
        published = event_time(event_id.scalar_one())
        assert published is not None
        values = {"slot": slot, "status": status, "handler": handler, "day": published.date()}
        connection.execute(statement, values)


def replay_letter_of(settings: Settings, engine: Engine, event_id: UUID) -> None:
    """Write the index's row of an event's dead letter, and replay it as the command does."""
    topic, now = build_catalogue(settings).topic(TOPIC).name, datetime.now(tz=UTC)
    letter = DeadLetter(
        id=f"{topic}.dlq:0:0", topic=topic, partition=0, offset=0, event_id=event_id, handler="try-single",
        tenant_id=None, reason="permanent", error_type="Permanent", error_message="it broke", attempts=1,
        first_failed_at=now, died_at=now, replayed_at=None, replayed_by=None, dlq_topic=f"{topic}.dlq",
        dlq_partition=0, dlq_offset=0,
    )  # fmt: skip
    record = Record(letter.dlq_topic, 0, 0, 0, "CreateTime", None, b"", ())
    with engine.begin() as connection:
        connection.execute(insert(dead_letters).values(asdict(letter)))
        replay(connection, build_catalogue(settings), letter, record, by="a test")


def statuses(engine: Engine, name: str = "often") -> list[tuple[str, str]]:
    """Return kind and status of a schedule's slots, the oldest first."""
    found = rows(engine, "select kind, status from streams.slots where schedule = :name order by slot", name=name)
    return [(str(row["kind"]), str(row["status"])) for row in found]
