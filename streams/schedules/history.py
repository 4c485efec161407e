"""What operators see of schedules: their state, and what became of their slots."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from streams.schedules.schedule import ScheduleError, schedule_of
from streams.schedules.slots import next_slot

LIST = text(
    """
    select s.*, clock_timestamp() as now, last.slot as last_slot, last.status as last_status
    from streams.schedules s left join lateral (
        select slot, status from streams.slots where schedule = s.name order by slot desc limit 1
    ) last on true
    where s.removed_at is null order by s.name
    """
)
HISTORY = text(
    """
    select schedule, slot, kind, status, claimed_by, claimed_at, started_at, completed_at, event_id, detail
    from streams.slots
    where schedule = :name and (cast(:status as text) is null or status = :status) order by slot desc limit :limit
    """
)


def list_schedules(connection: Connection) -> list[dict[str, object]]:
    """Return the schedules by name, each with its next slot and its last one."""
    return [_shown(row) for row in connection.execute(LIST).mappings()]


def slot_history(connection: Connection, name: str, *, status: str | None, limit: int) -> list[dict[str, object]]:
    """Return the slots of a schedule, the newest first.

    Args:
        connection: The connection.
        name: The schedule; it may have been removed.
        status: Only slots with this status. None: all.
        limit: The maximum number of rows.
    """
    rows = connection.execute(HISTORY, {"name": name, "status": status, "limit": limit}).mappings()
    return [dict(row) for row in rows]


def _shown(row: RowMapping) -> dict[str, object]:
    return {
        "name": row["name"],
        "event": row["topic"],
        "cron": row["cron"],
        "every": row["every"],
        "timezone": row["timezone"],
        "enabled": row["enabled"],
        "paused": row["paused_at"] is not None,
        "overlap": row["overlap"],
        "catch_up": row["catch_up"],
        "jitter": row["jitter"],
        "next_slot": _next(row),
        "last_slot": row["last_slot"],
        "last_status": row["last_status"],
        "args": row["args"],
        "origin": row["origin"],
        "changed_by": row["changed_by"],
        "error": row["error"],
    }


def _next(row: RowMapping) -> datetime | None:
    """Return the next slot; None for a schedule that is off, paused or broken."""
    if not row["enabled"] or row["paused_at"] is not None or row["error"] is not None:
        return None
    if row["next_slot"] is not None:
        known: datetime = row["next_slot"]
        return known
    try:
        return next_slot(schedule_of(row), row["now"])
    except ScheduleError:
        return None
