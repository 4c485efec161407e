"""`streams lag`: the consumer lag of each pool."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streams.cli.cells import format_rate
from streams.cli.cluster import kafka_errors_as_command_errors, require_whole_lag, unknown_lag_line
from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import Format, Output, print_csv, print_lines, print_rows
from streams.cli.screen import Screen
from streams.cli.tables import Column, table_lines
from streams.observability.metrics import Lag
from streams.observability.printable import escape_line
from streams.operations.lag import UnknownLag, group_lag
from streams.operations.oldest import oldest_records
from streams.operations.topic_lag import LagSnapshot, TopicLag, topic_lags
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings
from streams.topics import Catalogue

app = typer.Typer(add_completion=False)

WATCH_INTERVAL = 2.0
"""Seconds between two measurements. Workers commit every second, so a shorter interval gives no useful rate."""
FIELDS = tuple(Lag.__dataclass_fields__)
COLUMNS = (
    Column("consumergroup", 5),
    Column("topic", 1),
    Column("lag", 2),
    Column("oldest", 3),
    Column("rate", 4),
    Column("published", 6),
    Column("partitions", 7),
)


@app.command(cls=Command, epilog=examples("streams lag", "streams lag --all", "streams lag --watch"))
@prints_rows
def lag(
    output: Output,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Measure every two seconds until interrupted.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show topics without lag too.")] = False,
) -> None:
    """Show the consumer lag of every pool by topic. It asks Kafka, so no worker has to run.

    oldest: the timestamp of the oldest unsettled record. rate: records settled per second. published: records
    published per second. Both rates are measured over two seconds. JSON and CSV have one row per partition and no
    rates. What cannot be read is left out and named on standard error, and the exit code is 1.
    """
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with kafka_errors_as_command_errors():
        if not output.is_table:
            _print_partitions(settings, catalogue, output, watch=watch)
        elif watch:
            _watch(settings, catalogue, output, everything=everything)
        else:
            measured = _measure(settings, catalogue)
            print_lines(_lines(measured, output, everything=everything), output.screen)
            require_whole_lag(measured.unknown)


@dataclass(frozen=True, slots=True)
class Measured:
    """The lag of topics, and the partitions that are left out."""

    topics: Sequence[TopicLag]
    unknown: Sequence[UnknownLag]


def lag_lines(topics: Sequence[TopicLag], screen: Screen, *, everything: bool, whole: bool = True) -> list[Text]:
    """Return the table of topics.

    Args:
        topics: The topics.
        screen: Where the table is shown.
        everything: Whether topics without lag are shown too.
        whole: Whether the lag of all partitions is known.
    """
    shown = [_row(topic) for topic in topics if everything or topic.lag]
    if shown:
        return table_lines(COLUMNS, shown, screen)
    if not whole:
        return [Text("no lag where it is known")]
    return [Text(f"no lag: everything on {len(topics)} topics is settled" if topics else "no topics on the cluster")]


def _row(topic: TopicLag) -> dict[str, object]:
    return {
        **asdict(topic),
        "rate": format_rate(topic.settled_per_second),
        "published": format_rate(topic.published_per_second),
    }


def _lines(measured: Measured, output: Output, *, everything: bool) -> list[Text]:
    return lag_lines(measured.topics, output.screen, everything=everything, whole=not measured.unknown)


def _measure(settings: Settings, catalogue: Catalogue) -> Measured:
    """Measure the lag of topics twice, for the rates; once is enough without lag."""
    before, unknown = _take_snapshot(settings, catalogue)
    if not any(lag.lag for lag in before.lags):
        return Measured(topic_lags(before), unknown)
    time.sleep(WATCH_INTERVAL)
    snapshot, unknown = _take_snapshot(settings, catalogue)
    return Measured(_with_rates(settings, before, snapshot), unknown)


def _watch(settings: Settings, catalogue: Catalogue, output: Output, *, everything: bool) -> None:
    if not output.screen.is_terminal:
        notice = _Notice()
        for measured in _measurements(settings, catalogue):
            print_lines(_lines(measured, output, everything=everything), output.screen)
            sys.stdout.flush()
            notice.show(measured.unknown)
        return
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for measured in _measurements(settings, catalogue):
            lines = _lines(measured, output, everything=everything)
            for line in lines:
                line.no_wrap = True
            if left_out := unknown_lag_line(measured.unknown):
                lines.append(Text(escape_line(left_out)))
            live.update(Group(*lines), refresh=True)


def _measurements(settings: Settings, catalogue: Catalogue) -> Iterator[Measured]:
    """Measure the lag of topics without end."""
    before: LagSnapshot | None = None
    while True:
        snapshot, unknown = _take_snapshot(settings, catalogue)
        yield Measured(_with_rates(settings, before, snapshot), unknown)
        before = snapshot
        time.sleep(WATCH_INTERVAL)


def _with_rates(settings: Settings, before: LagSnapshot | None, snapshot: LagSnapshot) -> list[TopicLag]:
    return topic_lags(snapshot, before, oldest_records(settings, snapshot.lags))


def _take_snapshot(settings: Settings, catalogue: Catalogue) -> tuple[LagSnapshot, Sequence[UnknownLag]]:
    reading = group_lag(settings, catalogue)
    return LagSnapshot(time.monotonic(), reading.lags), reading.unknown


def _print_partitions(settings: Settings, catalogue: Catalogue, output: Output, *, watch: bool) -> None:
    first, notice = True, _Notice()
    while first or watch:
        if not first:
            time.sleep(WATCH_INTERVAL)
        reading = group_lag(settings, catalogue)
        rows = [asdict(row) for row in reading.lags]
        if output.format is Format.CSV:
            print_csv(rows, FIELDS, heading=first)
        else:
            print_rows(rows, (), output)
        sys.stdout.flush()
        if not watch:
            require_whole_lag(reading.unknown)
        notice.show(reading.unknown)
        first = False


class _Notice:
    """The line about what is left out, on standard error: once, until it changes."""

    def __init__(self) -> None:
        self._last: str | None = None

    def show(self, unknown: Sequence[UnknownLag]) -> None:
        line = unknown_lag_line(unknown)
        if line is not None and line != self._last:
            sys.stderr.write(f"streams: {escape_line(line)}\n")
        self._last = line
