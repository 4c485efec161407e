"""Changes of schedules by operators. Workers read the rows each time, so a change holds at once and after restarts."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, text

from streams.database.operator_note import NOTED
from streams.name_errors import unknown_name
from streams.schedules.registration import schedule_columns
from streams.schedules.schedule import Schedule, ScheduleError, schedule_of
from streams.schedules.slots import slots_between
from streams.schedules.statements import DROP_WAITING, INSERT_SLOT, LOCK_AND_WAIT

BACKFILL_LIMIT = 1000
"""Slots of one backfill."""
NAMES = text("select name from streams.schedules where removed_at is null order by name")
WRITE = text(
    f"""
    insert into streams.schedules as s
        (name, topic, args, cron, every, timezone, overlap, catch_up, jitter, enabled, origin, changed_by)
    values (:name, :topic, cast(:args as jsonb), :cron, :every, :timezone, :overlap, :catch_up, :jitter, :enabled,
        'operator', {NOTED})
    on conflict (name) do update set
        topic = excluded.topic, args = excluded.args, cron = excluded.cron, every = excluded.every,
        timezone = excluded.timezone, overlap = excluded.overlap, catch_up = excluded.catch_up,
        jitter = excluded.jitter, enabled = excluded.enabled, origin = 'operator', changed_by = excluded.changed_by,
        paused_at = case when s.removed_at is null then s.paused_at end,
        removed_at = null, next_slot = null, error = null
    where s.removed_at is not null or :replace
    returning name
    """  # noqa: S608 - a constant
)
REMOVE, PAUSE, RESUME = (
    text(f"update streams.schedules set {change}, changed_by = {NOTED} where name = :name")  # noqa: S608 - constants
    for change in (
        "removed_at = clock_timestamp()",
        "paused_at = clock_timestamp()",
        "paused_at = null, next_slot = null",
    )
)
DELETE_UNUSED = text(
    "delete from streams.slots where schedule = :schedule and slot = :slot and status in ('missed', 'skipped')"
)


class Added(NamedTuple):
    """The slots that an operator has added, and those that had a row already."""

    slots: list[datetime]
    known: list[datetime]


def add(connection: Connection, schedule: Schedule, *, replace: bool, by: str) -> None:
    """Write a schedule. Later starts of workers do not change it.

    Args:
        connection: The connection of the caller's transaction.
        schedule: A schedule that was checked.
        replace: Whether one of this name is replaced. One that was removed always is.
        by: Who does it, and how.

    Raises:
        ScheduleError: There is one of this name.
    """
    values = {**schedule_columns(schedule), "by": by, "replace": replace}
    if connection.execute(WRITE, values).first() is None:
        raise ScheduleError("name", f"there is a schedule {schedule.name} already; --replace changes it")


def remove(connection: Connection, name: str, *, by: str) -> None:
    """Remove a schedule: no slot comes any more, and a run goes on. Its history stays. Raises ScheduleError."""
    _lock(connection, name)
    connection.execute(REMOVE, {"name": name, "by": by})
    connection.execute(DROP_WAITING, {"schedule": name, "detail": "the schedule was removed"})


def pause(connection: Connection, name: str, *, by: str) -> bool:
    """Pause a schedule: its slots do not count, also later. Returns False if it is paused. Raises ScheduleError."""
    if _lock(connection, name)["paused_at"] is not None:
        return False
    connection.execute(PAUSE, {"name": name, "by": by})
    return True


def resume(connection: Connection, name: str, *, by: str) -> bool:
    """Resume a schedule with its next slot. Returns False if it is not paused. Raises ScheduleError."""
    if _lock(connection, name)["paused_at"] is None:
        return False
    connection.execute(RESUME, {"name": name, "by": by})
    return True


def trigger(connection: Connection, name: str, *, by: str) -> datetime:
    """Add a slot at this moment, which a worker starts at once. Returns the slot.

    It waits for a run of the schedule that has not ended, unless runs may overlap.

    Raises:
        ScheduleError: The schedule is unknown, off, paused or broken, or a slot waits already.
    """
    row = _startable(connection, name)
    if row["overlap"] != "allow" and _waiting(connection, name):
        raise ScheduleError("name", f"a slot of {name} waits already for the run before it")
    now: datetime = row["now"]
    _insert(connection, name, now, "trigger", by)
    return now


def backfill(connection: Connection, name: str, start: datetime, end: datetime, *, by: str) -> Added:
    """Add the slots from `start` to `end` that never ran. They run one after another, unless runs may overlap.

    Args:
        connection: The connection of the caller's transaction.
        name: The schedule.
        start: The first time, which counts.
        end: The last time, which counts; not later than now.
        by: Who does it, and how.

    Raises:
        ScheduleError: The schedule is unknown, off, paused or broken, or the times are wrong.
    """
    row = _startable(connection, name)
    if not start <= end <= row["now"]:
        raise ScheduleError("from", "the times must be in the past, and --from not after --to")
    slots = slots_between(schedule_of(row), start, end, BACKFILL_LIMIT + 1)
    if len(slots) > BACKFILL_LIMIT:
        raise ScheduleError("to", f"these are more than {BACKFILL_LIMIT} slots; take a shorter time")
    known = [slot for slot in slots if not _insert(connection, name, slot, "backfill", by)]
    return Added([slot for slot in slots if slot not in known], known)


def _insert(connection: Connection, name: str, slot: datetime, kind: str, by: str) -> bool:
    """Write a slot that waits for a worker. One that was missed or skipped runs after all."""
    connection.execute(DELETE_UNUSED, {"schedule": name, "slot": slot})
    values = {
        "schedule": name, "slot": slot, "kind": kind, "status": "pending", "event_id": None, "topic": None,
        "claimed_by": by, "detail": None,
    }  # fmt: skip
    return connection.execute(INSERT_SLOT, values).first() is not None


def _startable(connection: Connection, name: str) -> RowMapping:
    """Lock a schedule whose slots can run. Raises ScheduleError."""
    row = _lock(connection, name)
    if row["paused_at"] is not None:
        raise ScheduleError("name", f"{name} is paused; `streams schedules resume {name}` resumes it")
    if not row["enabled"]:
        raise ScheduleError("name", f"{name} is off; its setting switches it on (streams schedules show {name})")
    if row["error"] is not None:
        raise ScheduleError("name", f"{name} cannot run: {row['error']}")
    return row


def _lock(connection: Connection, name: str) -> RowMapping:
    row = connection.execute(LOCK_AND_WAIT, {"name": name}).mappings().first()
    if row is None or row["removed_at"] is not None:
        raise ScheduleError("name", unknown_schedule(connection, name))
    return row


def unknown_schedule(connection: Connection, name: str) -> str:
    """Return the sentence for an unknown schedule."""
    names = list(connection.execute(NAMES).scalars())
    return unknown_name("schedule", name, names) if names else f"no schedule {name!r}: no worker has started yet"


def _waiting(connection: Connection, name: str) -> bool:
    statement = text(
        "select 1 from streams.slots where schedule = :name and status = 'pending' and event_id is null limit 1"
    )
    return connection.execute(statement, {"name": name}).first() is not None
