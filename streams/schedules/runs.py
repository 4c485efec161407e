"""Ends the runs of a schedule: the status of a slot is that of its last event in the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from schemas.event import event_time
from streams.schedules.schedule import Handled
from streams.schedules.slots import OPEN, run_status
from streams.schedules.statements import EXECUTIONS, OPEN_SLOTS, UPDATE_SLOT
from streams.topics import USUAL_RETENTION, Catalogue

GRACE = timedelta(days=1)
"""How long after the retention of its topic a run without any execution counts as failed."""
_SHOWN = 500
"""Characters of an error in a slot's row."""


@dataclass(slots=True)
class Runs:
    """The slots of a locked schedule that have not ended."""

    running: int
    waiting: list[datetime]
    ended: list[str] = field(default_factory=list)
    """The statuses of those that have ended now."""


async def end_runs(session: AsyncSession, schedule: str, catalogue: Catalogue, handled: Handled, now: datetime) -> Runs:
    """Update the slots of a schedule that have not ended. The caller has locked the schedule's row.

    Args:
        session: The transaction.
        schedule: The name.
        catalogue: The topics, whose retention ends a run that was never handled.
        handled: The handlers of each topic.
        now: The database's time.

    Returns:
        The slots that have not ended, and how those ended that did so now.
    """
    slots = (await session.execute(OPEN_SLOTS, {"schedule": schedule})).mappings().all()
    running = [slot for slot in slots if slot["event_id"] is not None]
    runs = Runs(len(running), [slot["slot"] for slot in slots if slot["event_id"] is None])
    if not running:
        return runs
    ids = [slot["event_id"] for slot in running]
    days = sorted({time.date() for one in ids if (time := event_time(one)) is not None})
    found = (await session.execute(EXECUTIONS, {"ids": ids, "days": days})).mappings().all()
    for slot in running:
        executions = [row for row in found if row["event_id"] == slot["event_id"]]
        changed = _changed(slot, executions, handled.get(slot["topic"], ()))
        if changed is None and _is_lost(slot, executions, catalogue, now):
            changed = {**_columns(slot, "failure", executions), "detail": "no execution within its topic's retention"}
        if changed is not None:
            key = {"schedule": schedule, "slot": slot["slot"], "event_id": slot["event_id"]}
            updated = (await session.execute(UPDATE_SLOT, {**changed, **key})).first() is not None
            if updated and changed["status"] not in OPEN:
                runs.running -= 1
                runs.ended.append(str(changed["status"]))
    return runs


def _changed(
    slot: RowMapping, executions: Sequence[RowMapping], handlers: tuple[str, ...]
) -> Mapping[str, object] | None:
    """Return the new columns of a slot; None: nothing has changed."""
    status = run_status(handlers, {row["handler"]: row["status"] for row in executions})
    if status == slot["status"] or (status == "pending" and slot["started_at"] is not None):
        return None  # between two steps the next event has no execution yet
    return _columns(slot, status, executions)


def _columns(slot: RowMapping, status: str, executions: Sequence[RowMapping]) -> dict[str, object]:
    begun = [time for row in executions if (time := row["started_at"] or row["completed_at"]) is not None]
    ended = [row["completed_at"] for row in executions if row["completed_at"] is not None]
    errors = [f"{row['handler']}: {row['error']}" for row in executions if row["status"] == "failure"]
    return {
        "status": status,
        "started_at": slot["started_at"] or min(begun, default=None),
        "completed_at": None if status in OPEN else max(ended, default=None),
        "detail": "; ".join(errors)[:_SHOWN] or None,
    }


def _is_lost(slot: RowMapping, executions: Sequence[RowMapping], catalogue: Catalogue, now: datetime) -> bool:
    """Return whether the event can never be handled any more.

    A topic that this worker does not know may be one of a newer version, whose workers run its events.
    """
    published = event_time(slot["event_id"])
    if executions or published is None:
        return False
    topic = catalogue.find(slot["topic"] or "")
    retention = USUAL_RETENTION if topic is None else topic.retention
    return now - published > timedelta(seconds=retention) + GRACE
