"""A schedule: which event is published when. Everything that can be wrong with one is an error that names the field."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, cast, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import ValidationError
from sqlalchemy import RowMapping

from schemas import Event
from streams.delivery.handler import JSON
from streams.settings.schedules import check_zone
from streams.topics import Catalogue, UnknownEventError

Overlap = Literal["skip", "queue", "allow"]
"""What happens to a slot whose schedule still has a run: it is skipped, it waits (at most one does), or it runs too."""
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)
CATCH_UP = 600.0
"""Seconds that a slot may be late and still runs."""
SHORTEST_INTERVAL = 1.0
LONGEST = 366 * 86_400.0
"""Seconds. Of an interval, a catch-up window and a jitter."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)
_SHOWN = 60
"""Characters of a wrong value in its error."""
Handled = Mapping[str, tuple[str, ...]]
"""Topic, as in the catalogue → the handlers of its events whose executions have rows in the ledger."""


class ScheduleError(ValueError):
    """A schedule that cannot run. The message is one line, which begins with the name of the wrong field."""

    __module__ = "streams.schedules"

    def __init__(self, field_name: str, problem: str) -> None:
        super().__init__(f"{field_name}: {problem}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When an event is published, and what happens when that is late or the run before it has not ended."""

    name: str
    topic: str
    """The topic of the event, without the prefix."""
    args: Mapping[str, JSON] = field(default_factory=dict)
    """Fields of the event."""
    cron: str | None = None
    """Five fields, as in crontab(5): minute, hour, day of the month, month, day of the week."""
    every: float | None = None
    """Seconds between two slots, which are multiples of it since 1970. Exactly one of `cron` and `every` is set."""
    timezone: str = "UTC"
    """The time zone of the cron line."""
    overlap: Overlap = "skip"
    catch_up: float = CATCH_UP
    """Seconds that a slot may be late and still runs. An older one is recorded as missed."""
    jitter: float = 0.0
    """Seconds: a run begins at a point between its slot and so much later. A slot has always the same point."""
    enabled: bool = True

    def cron_line(self, start: datetime) -> CronSim:
        """Return the times of the cron line after a time, the nearest first. Raises ScheduleError."""
        try:
            return CronSim(self.cron or "", start.astimezone(ZoneInfo(self.timezone)))
        except CronSimError as error:
            raise ScheduleError("cron", f"{(self.cron or '')[:_SHOWN]!r} is not a cron line: {error}") from error


def check_times(schedule: Schedule) -> None:
    """Raise ScheduleError for a wrong name, time, policy or duration."""
    if not _NAME.fullmatch(schedule.name):
        raise ScheduleError("name", f"{schedule.name[:_SHOWN]!r}: write small letters, digits, dots and dashes")
    if (schedule.cron is None) == (schedule.every is None):
        raise ScheduleError("cron", "give a cron line or an interval (every), not both")
    if schedule.every is not None and not SHORTEST_INTERVAL <= schedule.every <= LONGEST:
        raise ScheduleError("every", "an interval is from 1s to 366d")
    try:
        check_zone(schedule.timezone)
    except ValueError as error:
        raise ScheduleError("timezone", str(error)) from error
    if schedule.cron is not None:
        _check_cron(schedule)
    if schedule.overlap not in OVERLAPS:
        raise ScheduleError("overlap", f"{str(schedule.overlap)[:_SHOWN]!r}: write one of {', '.join(OVERLAPS)}")
    for name, seconds in (("catch_up", schedule.catch_up), ("jitter", schedule.jitter)):
        if not 0 <= seconds <= LONGEST:
            raise ScheduleError(name, "it is from 0s to 366d")


def _check_cron(schedule: Schedule) -> None:
    if len((schedule.cron or "").split()) != 5:  # noqa: PLR2004 - crontab(5); a sixth field would be seconds
        raise ScheduleError("cron", f"{(schedule.cron or '')[:_SHOWN]!r} is not a cron line: it has five fields")
    try:
        next(schedule.cron_line(datetime.now(tz=UTC)))
    except StopIteration:
        raise ScheduleError("cron", f"{schedule.cron!r} never comes") from None


def event_class(schedule: Schedule, catalogue: Catalogue) -> type[Event]:
    """Return the class of the schedule's events. Raises ScheduleError if there is no such topic."""
    try:
        return catalogue.topic(schedule.topic).event
    except UnknownEventError as error:
        raise ScheduleError("event", str(error)) from error


def check_event(schedule: Schedule, catalogue: Catalogue, handled: Handled) -> None:
    """Raise ScheduleError for an unknown event, an event without a handler, or wrong fields of it."""
    event_class(schedule, catalogue)
    topic = catalogue.topic(schedule.topic)
    if not handled.get(topic.name):
        raise ScheduleError("event", f"{schedule.topic} has no handler whose executions are in the ledger")
    if topic.secret:
        raise ScheduleError("event", f"{schedule.topic} has secret fields, and schedules are not encrypted")
    build_event(schedule, catalogue)


def build_event(schedule: Schedule, catalogue: Catalogue) -> Event:
    """Return a new event of the schedule. Raises ScheduleError with the field of the event that is wrong."""
    for name in ("event_id", "occurred_at"):
        if name in schedule.args:
            raise ScheduleError(f"args.{name}", "every slot has its own")
    try:
        return event_class(schedule, catalogue).model_validate_json(json.dumps(schedule.args))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        first = min(wrong, key=lambda detail: detail["type"] != "extra_forbidden")
        place = ".".join(("args", *(str(part) for part in first["loc"])))
        raise ScheduleError(place, first["msg"]) from error


def schedule_of(row: RowMapping) -> Schedule:
    """Return the schedule of a row. Raises ScheduleError for a row that is wrong, such as one broken by hand."""
    args = row["args"]
    if not isinstance(args, dict):
        raise ScheduleError("args", "a JSON object is expected")
    schedule = Schedule(
        name=row["name"],
        topic=row["topic"],
        args=cast("Mapping[str, JSON]", args),
        cron=row["cron"],
        every=row["every"],
        timezone=row["timezone"],
        overlap=row["overlap"],
        catch_up=row["catch_up"],
        jitter=row["jitter"],
        enabled=row["enabled"],
    )
    check_times(schedule)
    return schedule
