"""`streams schedules`: lists, changes and starts schedules."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from sqlalchemy import Connection

from streams.cli.db import open_ledger
from streams.cli.execution_page import STATUS
from streams.cli.help import Command, Group, examples
from streams.cli.operator import operator_note
from streams.cli.options import MAX_ROWS, prints_rows
from streams.cli.output import WRONG_REQUEST, CommandError, JSONOption, Output, print_json, print_rows, print_text
from streams.cli.tables import Column
from streams.delivery.handler import JSON
from streams.durations import parse_duration
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.runtime.schedules import handlers_with_rows
from streams.schedules import changes
from streams.schedules.history import list_schedules, slot_history
from streams.schedules.schedule import Overlap, Schedule, ScheduleError, check_event, check_times
from streams.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="List, change and start schedules: events that are published at their times.",
    epilog=examples("streams schedules list", "streams schedules history clean-messages"),
)

COLUMNS = (
    Column("name", 1),
    Column("cron", 4),
    Column("every", 7),
    Column("timezone", 8),
    Column("enabled", 5),
    Column("paused", 6),
    Column("next_slot", 2),
    Column("last_slot", 9),
    Column("last_status", 3, styles=STATUS),
    Column("event", 10),
    Column("error", 5, min_width=20),
)
HISTORY = (
    Column("slot", 1),
    Column("kind", 5),
    Column("status", 2, styles=STATUS),
    Column("started_at", 3),
    Column("completed_at", 4),
    Column("claimed_by", 8),
    Column("event_id", 7),
    Column("detail", 6, min_width=20),
)


class OverlapName(StrEnum):
    """What happens to a slot while the run before it goes on."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"


_OVERLAPS: Mapping[OverlapName, Overlap] = {
    OverlapName.SKIP: "skip",
    OverlapName.QUEUE: "queue",
    OverlapName.ALLOW: "allow",
}


class SlotStatus(StrEnum):
    """What became of a slot."""

    PENDING = "pending"
    STARTED = "started"
    RETRY = "retry"
    SUCCESS = "success"
    FAILURE = "failure"
    MISSED = "missed"
    SKIPPED = "skipped"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the schedule.")]
TimeOption = {"metavar": "TIME", "parser": datetime.fromisoformat}


@app.command("list", cls=Command, epilog=examples("streams schedules list", "streams schedules list --json"))
@prints_rows
def list_command(output: Output) -> None:
    """List the schedules with their next slot and what became of the last one."""
    with open_ledger(load_settings()) as engine, engine.connect() as connection:
        found = list_schedules(connection)
    print_rows(found, COLUMNS, output, empty="no schedules: a worker writes the default ones when it starts")


@app.command("show", cls=Command, epilog=examples("streams schedules show clean-messages"))
def show(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Show everything about a schedule."""
    with open_ledger(load_settings()) as engine, engine.connect() as connection:
        found = next((row for row in list_schedules(connection) if row["name"] == name), None)
        if found is None:
            raise CommandError(changes.unknown_schedule(connection, name), WRONG_REQUEST)
    if as_json:
        print_json(found)
        return
    for field, value in found.items():
        if value is not None:
            print_text(f"{field}: {json.dumps(value) if isinstance(value, dict | bool) else value}")


@app.command(
    "add",
    cls=Command,
    epilog=examples(
        "streams schedules add weekly --event queues.check-requested --cron '0 6 * * 1'",
        "streams schedules add hourly --event queues.check-requested --every 1h",
    ),
)
def add(  # noqa: PLR0913 - one option a field
    name: NameArgument,
    *,
    event: Annotated[str, typer.Option("--event", help="The topic of the event that is published.")],
    args: Annotated[str, typer.Option("--args", metavar="JSON", help="The fields of the event.")] = "{}",
    cron: Annotated[str | None, typer.Option("--cron", help="Five fields, as in crontab(5).")] = None,
    every: Annotated[str | None, typer.Option("--every", help="An interval such as 15m, in place of --cron.")] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="The time zone of the cron line.")] = "UTC",
    overlap: Annotated[
        OverlapName, typer.Option("--overlap", help="What happens to a slot while a run goes on.")
    ] = OverlapName.SKIP,
    catch_up: Annotated[str, typer.Option("--catch-up", help="How late a slot may be and still run.")] = "10m",
    jitter: Annotated[str, typer.Option("--jitter", help="The most by which a run is put off.")] = "0s",
    replace: Annotated[bool, typer.Option("--replace", help="Change the schedule of this name.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Add a schedule, or change one. Workers follow at once, and later starts do not change it back."""
    settings = load_settings()
    note = operator_note("schedules", "add", name, event=event, cron=cron, every=every)
    with _changing(settings) as connection:
        schedule = Schedule(
            name=name,
            topic=event,
            args=_parse_args(args),
            cron=cron,
            every=None if every is None else _seconds("every", every),
            timezone=timezone,
            overlap=_OVERLAPS[overlap],
            catch_up=_seconds("catch_up", catch_up),
            jitter=_seconds("jitter", jitter),
        )
        _check(settings, schedule)
        changes.add(connection, schedule, replace=replace, by=note)
    _print_result(name, "is added", as_json=as_json, added=True)


@app.command("remove", cls=Command, epilog=examples("streams schedules remove weekly-check"))
def remove(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Remove a schedule. A run goes on, and its history stays."""
    note = operator_note("schedules", "remove", name)
    with _changing(load_settings()) as connection:
        changes.remove(connection, name, by=note)
    _print_result(name, "is removed", as_json=as_json, removed=True)


@app.command("pause", cls=Command, epilog=examples("streams schedules pause clean-messages"))
def pause(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Pause a schedule. Slots that pass in the meantime do not run later."""
    note = operator_note("schedules", "pause", name)
    with _changing(load_settings()) as connection:
        changed = changes.pause(connection, name, by=note)
    _print_result(name, "is paused" if changed else "was already paused", as_json=as_json, paused=True)


@app.command("resume", cls=Command, epilog=examples("streams schedules resume clean-messages"))
def resume(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Resume a schedule with its next slot."""
    note = operator_note("schedules", "resume", name)
    with _changing(load_settings()) as connection:
        changed = changes.resume(connection, name, by=note)
    _print_result(name, "is resumed" if changed else "was not paused", as_json=as_json, paused=False)


@app.command("trigger", cls=Command, epilog=examples("streams schedules trigger queue-monitor"))
def trigger(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Run a schedule now, in a slot of its own. It waits for a run that has not ended, unless runs may overlap."""
    note = operator_note("schedules", "trigger", name)
    with _changing(load_settings()) as connection:
        slot = changes.trigger(connection, name, by=note)
    _print_result(name, f"runs in the slot {slot.isoformat()}", as_json=as_json, slot=slot)


@app.command(
    "backfill",
    cls=Command,
    epilog=examples("streams schedules backfill nightly --from 2027-01-01T00Z --to 2027-01-04T00Z"),
)
def backfill(
    name: NameArgument,
    *,
    start: Annotated[datetime, typer.Option("--from", help="The first time, with its offset.", **TimeOption)],
    end: Annotated[datetime, typer.Option("--to", help="The last time, with its offset.", **TimeOption)],
    as_json: JSONOption = False,
) -> None:
    """Run the past slots of a time that never ran, one after another."""
    if start.utcoffset() is None or end.utcoffset() is None:
        message = "--from and --to need an offset from UTC, such as 2027-01-31T12:00+00:00"
        raise CommandError(message, WRONG_REQUEST)
    note = operator_note("schedules", "backfill", name, **{"from": start.isoformat(), "to": end.isoformat()})
    with _changing(load_settings()) as connection:
        added = changes.backfill(connection, name, start, end, by=note)
    known = f"; {len(added.known)} had run or run already" if added.known else ""
    _print_result(name, f"runs in {len(added.slots)} past slots{known}", as_json=as_json, slots=added.slots)


@app.command(
    "history",
    cls=Command,
    epilog=examples("streams schedules history clean-messages", "streams schedules history queue-monitor --limit 5"),
)
@prints_rows
def history(
    output: Output,
    name: NameArgument,
    *,
    status: Annotated[SlotStatus | None, typer.Option("--status", help="Show only slots with this status.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_ROWS, help="Show at most this many rows.")] = 50,
) -> None:
    """List the slots of a schedule, the newest first, with what became of each."""
    with open_ledger(load_settings()) as engine, engine.connect() as connection:
        found = slot_history(connection, name, status=None if status is None else status.value, limit=limit)
        if not found and name not in {row["name"] for row in list_schedules(connection)}:
            raise CommandError(changes.unknown_schedule(connection, name), WRONG_REQUEST)
    print_rows(found, HISTORY, output, empty=f"{name} has had no slot yet")


@contextmanager
def _changing(settings: Settings) -> Iterator[Connection]:
    """Open a transaction on the schedules. An error about a schedule is one about the request."""
    try:
        with open_ledger(settings) as engine, engine.begin() as connection:
            yield connection
    except ScheduleError as error:
        raise CommandError(str(error), WRONG_REQUEST) from error


def _check(settings: Settings, schedule: Schedule) -> None:
    """Raise ScheduleError for anything that is wrong with a schedule."""
    check_times(schedule)
    catalogue = build_catalogue(settings)
    check_event(schedule, catalogue, handlers_with_rows(catalogue, build_handlers(settings)))


def _parse_args(given: str) -> dict[str, JSON]:
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ScheduleError("args", "write a JSON object of the event's fields")
    return found


def _seconds(field: str, given: str) -> float:
    try:
        return parse_duration(given)
    except ValueError as error:
        raise ScheduleError(field, str(error)) from error


def _print_result(name: str, what: str, *, as_json: bool, **fields: object) -> None:
    if as_json:
        print_json({"name": name, **fields})
    else:
        print_text(f"schedule {name} {what}")
