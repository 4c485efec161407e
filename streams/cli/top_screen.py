"""Formats the overview of `streams top` as lines that fit on the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.text import Text

from streams.cli.cells import format_cell, format_rate
from streams.cli.screen import Screen
from streams.cli.tables import Column, Row, build_table
from streams.observability.printable import escape_line
from streams.operations.monitoring.overview import Overview, PoolRow, TopicRow
from streams.operations.monitoring.sample import ScheduleState

POOL_COLUMNS = (
    Column("pool", 1),
    Column("members", 5),
    Column("lag", 2),
    Column("oldest", 3),
    Column("in", 4),
    Column("out", 4),
    Column("retries", 6),
)
TOPIC_COLUMNS = (
    Column("topic", 1, min_width=20),
    Column("lag", 2),
    Column("oldest", 3),
    Column("in", 4),
    Column("out", 4),
    Column("pool", 5),
)
DEATH_COLUMNS = (
    Column("died", 1),
    Column("topic", 2, min_width=16),
    Column("handler", 3, min_width=10),
    Column("reason", 4),
    Column("error", 5, min_width=10),
)
MOST_ITEMS = 5
"""Breakers and paused things that a terminal shows."""
LEAST_TOPICS = 3
"""Topics that even a low terminal shows."""


def top_lines(overview: Overview, screen: Screen, height: int | None = None) -> list[Text]:
    """Return the lines of the screen.

    Args:
        overview: What is shown.
        screen: The width, and whether it is a terminal.
        height: The number of lines of the terminal. None: everything is shown.
    """
    head = [*_title(overview, screen), *_errors(overview), Text(""), *_pools(overview, screen)]
    tail = [*_state(overview, screen, MOST_ITEMS if height else None), *_deaths(overview, screen)]
    room = None if height is None else max(LEAST_TOPICS, height - len(head) - len(tail) - 3)
    lines = [*head, *_topics(overview, screen, room), *tail]
    if height is not None:
        del lines[max(1, height - 1) :]
    for line in lines:
        if screen.is_terminal:
            line.truncate(screen.width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _title(overview: Overview, screen: Screen) -> Iterator[Text]:
    brokers = "" if overview.brokers is None else f"  brokers {overview.brokers}"
    yield Text(f"streams top  {overview.at.astimezone().strftime('%H:%M:%S')}{brokers}", style="bold")
    if overview.outbox is not None:
        oldest = f" since {format_cell(overview.outbox.oldest, screen)}" if overview.outbox.oldest else ""
        parts = (
            f"outbox {overview.outbox.waiting}{oldest}",
            f"set aside {overview.outbox.set_aside}",
            f"dead letters {overview.dead_letters}",
        )
        yield Text("  ".join(parts))


def _errors(overview: Overview) -> Iterator[Text]:
    for name, error in overview.errors.items():
        yield Text(f"{name}: {escape_line(error)}", style="red")


def _pools(overview: Overview, screen: Screen) -> list[Text]:
    if overview.pools is None:
        return []
    return [*_table(POOL_COLUMNS, [_row(row) for row in overview.pools], screen), Text("")]


def _topics(overview: Overview, screen: Screen, room: int | None) -> list[Text]:
    """Return the topics that have lag or traffic, the ones with the most lag first, in at most so many lines."""
    if overview.topics is None:
        return []
    busy = [row for row in overview.topics if row.lag or row.published_per_second or row.settled_per_second]
    if not busy:
        return [Text(f"no lag: everything on {len(overview.topics)} topics is settled"), Text("")]
    shown = busy if room is None else busy[:room]
    lines = _table(TOPIC_COLUMNS, [_row(row) for row in shown], screen)
    if len(shown) < len(busy):
        lines.append(Text(f"{len(busy) - len(shown)} more topics", style="dim"))
    return [*lines, Text("")]


def _table(columns: Sequence[Column], rows: Sequence[Row], screen: Screen) -> list[Text]:
    table = build_table(columns, rows, screen)
    return [table.heading, *table.lines]


def _row(row: PoolRow | TopicRow) -> dict[str, object]:
    return {
        **asdict(row),
        "in": format_rate(row.published_per_second),
        "out": format_rate(row.settled_per_second),
    }


def _state(overview: Overview, screen: Screen, most: int | None) -> list[Text]:
    """Return open breakers, paused things, and schedules that are paused, cannot run or have missed slots."""
    waiting = [
        Text(f"breaker   {escape_line(one.dependency)}: {one.waiting} of {one.workers} workers wait", style="red")
        for one in overview.breakers or ()
        if one.waiting
    ]
    paused = [
        Text(f"paused    {one.kind} {escape_line(one.name)} {format_cell(one.since, screen)}", style="yellow")
        for one in overview.paused or ()
    ]
    schedules = [
        Text(f"schedule  {escape_line(one.name)}: {_schedule_state(one)}", style="yellow")
        for one in overview.schedules or ()
        if one.paused or one.broken or one.missed
    ]
    lines = [line for group in (waiting, paused, schedules) for line in _most(group, most)]
    return [*lines, Text("")] if lines else []


def _schedule_state(schedule: ScheduleState) -> str:
    parts = [word for word, holds in (("paused", schedule.paused), ("cannot run", schedule.broken)) if holds]
    return ", ".join([*parts, f"{schedule.missed} missed slots in 24 h"] if schedule.missed else parts)


def _most(lines: Sequence[Text], most: int | None) -> list[Text]:
    if most is None or len(lines) <= most:
        return list(lines)
    return [*lines[:most], Text(f"          {len(lines) - most} more", style="dim")]


def _deaths(overview: Overview, screen: Screen) -> list[Text]:
    if not overview.deaths:
        return []
    rows = [
        {
            "died": one.died_at,
            "topic": one.topic,
            "handler": one.handler,
            "reason": one.reason,
            "error": one.error_type,
        }
        for one in overview.deaths
    ]
    return [Text("last dead letters", style="bold"), *_table(DEATH_COLUMNS, rows, screen)]
