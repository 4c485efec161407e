"""`streams lag`: how far each pool is behind."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streams.cli.cluster import asking_kafka
from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import Format, Output, print_csv, print_lines, print_rows
from streams.cli.screen import Screen
from streams.cli.tables import Column, table_lines
from streams.observability.metrics import Lag
from streams.operations.lag import group_lag
from streams.operations.oldest import oldest_records
from streams.operations.topic_lag import Look, TopicLag, topic_lags
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings
from streams.topics import Catalogue

app = typer.Typer(add_completion=False)

WATCH_INTERVAL = 2.0
"""Seconds between two looks. Workers commit every second, so a rate over less would say little."""
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
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds until interrupted.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also topics without lag.")] = False,
) -> None:
    """Show what every pool still has to settle, by topic; asks Kafka, so no worker need run.

    oldest: when the oldest unsettled record came. rate: records settled per second; published: records that came per
    second; both are counted over two looks two seconds apart. JSON and CSV have a row for each partition, no rates.
    """
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with asking_kafka():
        if not output.is_table:
            _print_partitions(settings, catalogue, output, watch=watch)
        elif watch:
            _watch(settings, catalogue, output, everything=everything)
        else:
            print_lines(lag_lines(_topics(settings, catalogue), output.screen, everything=everything), output.screen)


def lag_lines(topics: Sequence[TopicLag], screen: Screen, *, everything: bool) -> list[Text]:
    """The table of topics; those without lag only where all are asked for."""
    shown = [_row(topic) for topic in topics if everything or topic.lag]
    if not shown:
        return [
            Text(f"no lag: everything on {len(topics)} topics is settled" if topics else "no topics on the cluster")
        ]
    return table_lines(COLUMNS, shown, screen)


def _row(topic: TopicLag) -> dict[str, object]:
    return {
        **asdict(topic),
        "rate": _rate(topic.settled_per_second),
        "published": _rate(topic.published_per_second),
    }


def _rate(per_second: float | None) -> str | None:
    """One decimal below ten."""
    if per_second is None:
        return None
    return f"{per_second:.0f}/s" if per_second == 0 or per_second >= 10 else f"{per_second:.1f}/s"  # noqa: PLR2004


def _topics(settings: Settings, catalogue: Catalogue) -> list[TopicLag]:
    """The lag of topics from two looks; from one where nothing waits."""
    before = _look(settings, catalogue)
    if not any(lag.lag for lag in before.lags):
        return topic_lags(before)
    time.sleep(WATCH_INTERVAL)
    return _since(settings, before, _look(settings, catalogue))


def _watch(settings: Settings, catalogue: Catalogue, output: Output, *, everything: bool) -> None:
    if not output.screen.terminal:
        for topics in _looks(settings, catalogue):
            print_lines(lag_lines(topics, output.screen, everything=everything), output.screen)
            sys.stdout.flush()
        return
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for topics in _looks(settings, catalogue):
            lines = lag_lines(topics, output.screen, everything=everything)
            for line in lines:
                line.no_wrap = True
            live.update(Group(*lines), refresh=True)


def _looks(settings: Settings, catalogue: Catalogue) -> Iterator[list[TopicLag]]:
    """The lag of topics again and again."""
    before: Look | None = None
    while True:
        look = _look(settings, catalogue)
        yield _since(settings, before, look)
        before = look
        time.sleep(WATCH_INTERVAL)


def _since(settings: Settings, before: Look | None, look: Look) -> list[TopicLag]:
    return topic_lags(look, before, oldest_records(settings, look.lags))


def _look(settings: Settings, catalogue: Catalogue) -> Look:
    lags = group_lag(settings, catalogue)
    return Look(time.monotonic(), lags)


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
