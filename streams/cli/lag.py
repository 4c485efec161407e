"""`streams lag`: the consumer lag of each pool."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streams.cli.cells import format_rate
from streams.cli.cluster import kafka_errors_as_command_errors
from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import Format, Output, print_csv, print_lines, print_rows
from streams.cli.screen import Screen
from streams.cli.tables import Column, table_lines
from streams.observability.metrics import Lag
from streams.operations.lag import group_lag
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
    rates.
    """
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with kafka_errors_as_command_errors():
        if not output.is_table:
            _print_partitions(settings, catalogue, output, watch=watch)
        elif watch:
            _watch(settings, catalogue, output, everything=everything)
        else:
            print_lines(lag_lines(_topics(settings, catalogue), output.screen, everything=everything), output.screen)


def lag_lines(topics: Sequence[TopicLag], screen: Screen, *, everything: bool) -> list[Text]:
    """Return the table of topics. Topics without lag are shown only with `everything`."""
    shown = [_row(topic) for topic in topics if everything or topic.lag]
    if not shown:
        return [
            Text(f"no lag: everything on {len(topics)} topics is settled" if topics else "no topics on the cluster")
        ]
    return table_lines(COLUMNS, shown, screen)


def _row(topic: TopicLag) -> dict[str, object]:
    return {
        **asdict(topic),
        "rate": format_rate(topic.settled_per_second),
        "published": format_rate(topic.published_per_second),
    }


def _topics(settings: Settings, catalogue: Catalogue) -> list[TopicLag]:
    """Measure the lag of topics twice, for the rates; once is enough without lag."""
    before = _take_snapshot(settings, catalogue)
    if not any(lag.lag for lag in before.lags):
        return topic_lags(before)
    time.sleep(WATCH_INTERVAL)
    return _with_rates(settings, before, _take_snapshot(settings, catalogue))


def _watch(settings: Settings, catalogue: Catalogue, output: Output, *, everything: bool) -> None:
    if not output.screen.is_terminal:
        for topics in _snapshots(settings, catalogue):
            print_lines(lag_lines(topics, output.screen, everything=everything), output.screen)
            sys.stdout.flush()
        return
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for topics in _snapshots(settings, catalogue):
            lines = lag_lines(topics, output.screen, everything=everything)
            for line in lines:
                line.no_wrap = True
            live.update(Group(*lines), refresh=True)


def _snapshots(settings: Settings, catalogue: Catalogue) -> Iterator[list[TopicLag]]:
    """Measure the lag of topics without end."""
    before: LagSnapshot | None = None
    while True:
        snapshot = _take_snapshot(settings, catalogue)
        yield _with_rates(settings, before, snapshot)
        before = snapshot
        time.sleep(WATCH_INTERVAL)


def _with_rates(settings: Settings, before: LagSnapshot | None, snapshot: LagSnapshot) -> list[TopicLag]:
    return topic_lags(snapshot, before, oldest_records(settings, snapshot.lags))


def _take_snapshot(settings: Settings, catalogue: Catalogue) -> LagSnapshot:
    lags = group_lag(settings, catalogue)
    return LagSnapshot(time.monotonic(), lags)


def _print_partitions(settings: Settings, catalogue: Catalogue, output: Output, *, watch: bool) -> None:
    first = True
    while first or watch:
        if not first:
            time.sleep(WATCH_INTERVAL)
        rows = [asdict(row) for row in group_lag(settings, catalogue)]
        if output.format is Format.CSV:
            print_csv(rows, FIELDS, heading=first)
        else:
            print_rows(rows, (), output)
        sys.stdout.flush()
        first = False
