"""The clock of one worker: claims the slots that are due, ends runs, and starts the slots that wait.

Every worker has one. A schedule's row is locked while something of it changes, so the workers do not do anything twice.
A slot's row and its event are written in one transaction: a worker that is killed loses neither and doubles neither.
"""

from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from streams.codec import Codec, SchemaMissingError
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.errors import Unavailable
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.observability.metrics import SlotCounts
from streams.observability.tracing import waiting_since
from streams.publishing.outbox.outbox import Outbox
from streams.schedules.runs import Runs, end_runs
from streams.schedules.schedule import Handled, Schedule, ScheduleError, build_event, check_event, schedule_of
from streams.schedules.slots import decide, due_slots, next_slot, start_time, starts_now
from streams.schedules.statements import (
    CANDIDATES,
    INSERT_SLOT,
    LAST_CLAIMED,
    LOCK,
    SET_ERROR,
    SET_NEXT,
    START_SLOT,
)
from streams.topics import Catalogue

log = get_logger(__name__)
TICK = 0.5
"""Seconds between two looks at the schedules."""
BROKEN_PAUSE = 60.0
"""Seconds until a row that is not understood is tried again."""


class ScheduleClock:
    """The clock of a worker. `tick` never raises, because Faust ends the worker with an exception of a timer."""

    def __init__(  # noqa: PLR0913 - one argument per resource
        self,
        engine: AsyncEngine,
        *,
        catalogue: Catalogue,
        codec: Codec,
        schemas: SchemaLoader,
        handled: Handled,
        worker: str,
    ) -> None:
        """Create a clock.

        Args:
            engine: The bookkeeping connections.
            catalogue: The topics of the events.
            codec: Encodes them.
            schemas: Fetches what the codec lacks.
            handled: The handlers of each topic.
            worker: The name of this process, as the ledger shows it.
        """
        self._engine = engine
        self._catalogue = catalogue
        self._codec = codec
        self._schemas = schemas
        self._handled = handled
        self._worker = worker

    async def tick(self) -> None:
        """Do what is due for every schedule. A failure of one does not concern the others."""
        try:
            async with self._engine.connect() as connection:
                candidates = (await connection.execute(CANDIDATES)).all()
            for name, topic in candidates:
                await self._advance_safely(name, topic)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("cannot look at the schedules", error=message(error))
        except Exception:
            log.exception("cannot look at the schedules")

    async def _advance_safely(self, name: str, topic: str) -> None:
        try:
            if not await self._is_prepared(topic):
                return
            counts = SlotCounts(name)
            async with AsyncSession(self._engine) as session, session.begin():
                await self._advance(session, name, counts)
            counts.count()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("schedule failed; it is tried again", schedule=name, error=message(error))
        except Exception as error:  # noqa: BLE001 - whatever a row holds, the other schedules go on
            await self._disable(name, error)

    async def _is_prepared(self, topic: str) -> bool:
        """Fetch the schema of the event, without a transaction. Returns False if that has to wait."""
        known = self._catalogue.find(topic)
        if known is None:
            return True  # it is reported with the row
        try:
            await self._schemas.prepare(self._codec, known.event)
        except (Unavailable, SchemaMissingError) as error:
            log.warning("a schedule waits for the schema of its event", topic=topic, error=message(error))
            return False
        return True

    async def _advance(self, session: AsyncSession, name: str, counts: SlotCounts) -> None:
        row = (await session.execute(LOCK, {"name": name})).mappings().first()
        if row is None:
            return
        runs = await end_runs(session, name, self._catalogue, self._handled, row["now"])
        for status in runs.ended:
            counts.add_status(status)
        is_off = not row["enabled"] or row["paused_at"] is not None or row["removed_at"] is not None
        upcoming: datetime | None = row["next_slot"]
        if is_off or (row["error"] is not None and upcoming is not None and upcoming > row["now"]):
            return
        try:
            schedule = schedule_of(row)
            check_event(schedule, self._catalogue, self._handled)
        except ScheduleError as error:
            await _note_error(session, name, str(error))
            return
        if upcoming is None or row["error"] is not None:
            upcoming = next_slot(schedule, await _last_claimed(session, row) or row["now"])
        if upcoming <= row["now"]:
            await self._claim(session, schedule, upcoming, row["now"], runs, counts)
        elif upcoming != row["next_slot"]:
            await session.execute(SET_NEXT, {"name": name, "next": upcoming})
        for slot in runs.waiting[: starts_now(schedule.overlap, running=runs.running, waiting=len(runs.waiting))]:
            counts.add_start((row["now"] - slot).total_seconds())
            await self._start(session, schedule, slot)

    async def _claim(  # noqa: PLR0913, PLR0917 - what the tick has read
        self,
        session: AsyncSession,
        schedule: Schedule,
        first: datetime,
        now: datetime,
        runs: Runs,
        counts: SlotCounts,
    ) -> None:
        due = due_slots(schedule, first, now)
        for slot in due.missed:
            if await self._insert(session, schedule, slot, "missed", f"later than {schedule.catch_up:g} s"):
                counts.add_status("missed")
        if due.missed:
            log.warning("slots of a schedule were missed", schedule=schedule.name, slots=len(due.missed))
        for slot in due.run:
            decision = decide(schedule.overlap, running=runs.running, waiting=len(runs.waiting))
            status, detail = ("skipped", "the run before it had not ended") if decision == "skip" else ("pending", None)
            if not await self._insert(session, schedule, slot, status, detail):
                continue
            counts.add_status(status)
            if runs.running or runs.waiting:
                counts.add_overlap()
            if decision == "wait":
                runs.waiting.append(slot)
            elif decision == "run":
                runs.running += 1
                counts.add_start((now - slot).total_seconds())
                await self._start(session, schedule, slot)
        await session.execute(SET_NEXT, {"name": schedule.name, "next": due.next})

    async def _insert(
        self, session: AsyncSession, schedule: Schedule, slot: datetime, status: str, detail: str | None = None
    ) -> bool:
        """Write the row of a slot. Returns False if it has one: a backfill came before."""
        values = {
            "schedule": schedule.name, "slot": slot, "kind": "timer", "status": status, "event_id": None,
            "topic": None, "claimed_by": self._worker, "detail": detail,
        }  # fmt: skip
        return (await session.execute(INSERT_SLOT, values)).first() is not None

    async def _start(self, session: AsyncSession, schedule: Schedule, slot: datetime) -> None:
        """Publish the event of a slot, and write it to the slot's row, in this transaction."""
        event = build_event(schedule, self._catalogue)
        at = start_time(schedule, slot) if schedule.jitter else None
        with waiting_since(slot):
            event_id = Outbox(session, self._codec).publish(event, at=at)
        log.info("slot of a schedule", schedule=schedule.name, slot=slot.isoformat(), published_event=str(event_id))
        topic = self._catalogue.topic(schedule.topic).name
        values = {"event_id": event_id, "topic": topic, "claimed_by": self._worker}
        await session.execute(START_SLOT, {"schedule": schedule.name, "slot": slot, **values})

    async def _disable(self, name: str, error: Exception) -> None:
        """Write why a schedule cannot run, and try it again later. The others go on."""
        try:
            async with AsyncSession(self._engine) as session, session.begin():
                await _note_error(session, name, f"{type(error).__name__}: {message(error)}")
        except (SQLAlchemyError, OSError, TimeoutError) as failed:
            log.warning("cannot write the error of a schedule", schedule=name, error=message(failed))


async def _note_error(session: AsyncSession, name: str, error: str) -> None:
    log.error("a schedule cannot run; correct its row", schedule=name, error=error)
    await session.execute(SET_ERROR, {"name": name, "error": error, "seconds": BROKEN_PAUSE})


async def _last_claimed(session: AsyncSession, row: RowMapping) -> datetime | None:
    """Return the last slot before an error that is over. None: the schedule was off, paused or changed.

    The slots since then are late: another version of the worker may not have known the event. A schedule that was off
    has no late slots.
    """
    if row["next_slot"] is None:
        return None
    last: datetime | None = (await session.execute(LAST_CLAIMED, {"schedule": row["name"]})).scalar_one()
    return last
