"""The slots of a schedule: the instants at which it is due, and what becomes of them. Values without I/O.

A slot is a UTC instant. In a zone with daylight saving time, a cron line with a fixed hour has one slot a day: an hour
that is left out comes right after the change, one that comes twice counts once (crontab(5) of Debian).
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Literal

from streams.schedules.schedule import Overlap, Schedule

CLAIMED_AT_ONCE = 100
"""Slots of one schedule that one transaction claims."""
MISSED_SHOWN = 100
"""The newest missed slots of one gap that get a row."""
_FIRST_SPAN = timedelta(hours=2)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Decision = Literal["run", "wait", "skip"]
OPEN = ("pending", "started", "retry")
"""The statuses of a slot whose run has not ended, or has not begun."""


@dataclass(frozen=True, slots=True)
class DueSlots:
    """The slots of a schedule up to now."""

    run: tuple[datetime, ...]
    """Those inside the catch-up window, the oldest first; at most `CLAIMED_AT_ONCE`."""
    missed: tuple[datetime, ...]
    """Those before the window, the oldest first; the newest `MISSED_SHOWN` of them."""
    next: datetime
    """The first slot after these."""


def next_slot(schedule: Schedule, after: datetime) -> datetime:
    """Return the first slot after a time, in UTC."""
    return next(_slots_after(schedule, after))


def due_slots(schedule: Schedule, first: datetime, now: datetime) -> DueSlots:
    """Return the slots from `first` to `now`.

    Args:
        schedule: The schedule.
        first: The first slot that was not claimed yet.
        now: The time of the database.
    """
    oldest = max(first, now - timedelta(seconds=schedule.catch_up))
    run: list[datetime] = []
    # A slot at exactly this time counts.
    following = _slots_after(schedule, oldest - timedelta(microseconds=1))
    upcoming = next(following)
    while upcoming <= now and len(run) < CLAIMED_AT_ONCE:
        run.append(upcoming)
        upcoming = next(following)
    return DueSlots(tuple(run), _missed_slots(schedule, first, oldest), upcoming)


def slots_between(schedule: Schedule, start: datetime, end: datetime, limit: int) -> list[datetime]:
    """Return the slots from `start` to `end`, both included, at most `limit`."""
    found = []
    for slot in islice(_slots_after(schedule, start - timedelta(microseconds=1)), limit):
        if slot > end:
            break
        found.append(slot)
    return found


def decide(overlap: Overlap, *, running: int, waiting: int) -> Decision:
    """Return what becomes of a slot that is due.

    Args:
        overlap: The schedule's policy.
        running: Runs of the schedule that have not ended.
        waiting: Its slots that wait for a run to end.
    """
    if overlap == "allow" or not running + waiting:
        return "run"
    return "wait" if overlap == "queue" and not waiting else "skip"


def starts_now(overlap: Overlap, *, running: int, waiting: int) -> int:
    """Return how many of the slots that wait begin now."""
    if overlap == "allow":
        return min(waiting, CLAIMED_AT_ONCE)
    return 0 if running else min(waiting, 1)


def start_time(schedule: Schedule, slot: datetime) -> datetime:
    """Return when the run of a slot begins: at the slot, or later by a part of the jitter that depends on the slot."""
    digest = hashlib.sha256(f"{schedule.name} {slot.timestamp():.6f}".encode()).digest()
    return slot + timedelta(seconds=schedule.jitter * int.from_bytes(digest[:4], "big") / 2**32)


def run_status(handlers: tuple[str, ...], executions: Mapping[str, str]) -> str:
    """Return the status of a run from its last event's executions.

    Args:
        handlers: The handlers of the event.
        executions: Handler → status of its execution. A handler that has not begun is not in it.
    """
    statuses = [executions.get(name) for name in handlers] or [None]
    if None not in statuses and not {"started", "retry"} & set(statuses):
        return "failure" if "failure" in statuses else "success"
    if "retry" in statuses:
        return "retry"
    return "started" if any(statuses) else "pending"


def _slots_after(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    if schedule.every is None:
        for local in schedule.cron_line(after):
            # Within the hour that comes twice, the library begins with slots of the first one.
            if (slot := local.astimezone(UTC)) > after:
                yield slot
        return
    number = math.floor((after - _EPOCH).total_seconds() / schedule.every)
    while True:
        slot = _EPOCH + timedelta(seconds=number * schedule.every)
        if slot > after:
            yield slot
        number += 1


def _missed_slots(schedule: Schedule, first: datetime, end: datetime) -> tuple[datetime, ...]:
    """Return the newest slots from `first` to before `end`.

    They are looked for forwards, in longer and longer spans before the end: a cron line that is read backwards leaves
    out slots around a change of the clocks.
    """
    span = _FIRST_SPAN
    while True:
        start = max(first, end - span)
        slots = _slots_after(schedule, start - timedelta(microseconds=1))
        found = tuple(takewhile(lambda slot: slot < end, slots))
        if start == first or len(found) >= MISSED_SHOWN:
            return found[-MISSED_SHOWN:]
        span *= 4
