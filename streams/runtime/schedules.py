"""The schedules of a deployment: the built-in ones and those of its own packages."""

from collections import defaultdict
from collections.abc import Iterable

from schemas import Event
from streams.delivery.handler import Handler
from streams.schedules.defaults import default_schedules
from streams.schedules.schedule import Handled, Schedule, ScheduleError, check_event, check_times
from streams.settings import Settings, SettingsError
from streams.topics import Catalogue, import_package


def build_schedules(
    settings: Settings, catalogue: Catalogue, handlers: Iterable[Handler[Event]]
) -> tuple[Schedule, ...]:
    """Return the built-in schedules and the `SCHEDULES` of each package in STREAMS_HANDLERS. Raises SettingsError."""
    handled = handlers_with_rows(catalogue, handlers)
    found = list(default_schedules(settings))
    for package in settings.handlers:
        for schedule in getattr(import_package(package), "SCHEDULES", ()):
            try:
                check_times(schedule)
                check_event(schedule, catalogue, handled)
            except ScheduleError as error:
                message = f"STREAMS_HANDLERS: schedule {schedule.name} of {package}: {error}"
                raise SettingsError(message) from error
            found.append(schedule)
    names = [schedule.name for schedule in found]
    if twice := {name for name in names if names.count(name) > 1}:
        message = f"STREAMS_HANDLERS: two schedules are named {', '.join(sorted(twice))}"
        raise SettingsError(message)
    return tuple(found)


def handlers_with_rows(catalogue: Catalogue, handlers: Iterable[Handler[Event]]) -> Handled:
    """Return the names of the handlers of each topic whose executions have rows in the ledger.

    A handler without a topic is left out: the worker's start check reports it.
    """
    topics = {topic.event: topic.name for topic in catalogue}
    found: dict[str, list[str]] = defaultdict(list)
    for handler in handlers:
        if handler.ledger and handler.event in topics:
            found[topics[handler.event]].append(handler.name)
    return {topic: tuple(sorted(names)) for topic, names in found.items()}
