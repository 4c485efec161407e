"""`streams lag`: how far each pool is behind."""

import sys
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from streams.cli.cluster import asking_kafka
from streams.cli.output import JSONOption, print_json, print_rows
from streams.observability.metrics import Lag
from streams.operations.lag import group_lag
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings
from streams.topics import Catalogue

app = typer.Typer(add_completion=False)

WATCH_INTERVAL = 2.0
"""Seconds between two looks with --watch."""


@app.command()
def lag(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds until interrupted.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Show what every pool still has to settle, by topic and partition; asks Kafka, so no worker need run."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with asking_kafka():
        if not watch:
            print_rows([asdict(row) for row in group_lag(settings, catalogue)], as_json=as_json)
        elif as_json:
            _watch_json(settings, catalogue)
        else:
            _watch_table(settings, catalogue)


def _watch_json(settings: Settings, catalogue: Catalogue) -> None:
    while True:
        print_json([asdict(row) for row in group_lag(settings, catalogue)])
        sys.stdout.flush()
        time.sleep(WATCH_INTERVAL)


def _watch_table(settings: Settings, catalogue: Catalogue) -> None:
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(_by_topic(group_lag(settings, catalogue)), refresh=True)
            time.sleep(WATCH_INTERVAL)


def _by_topic(rows: list[Lag]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("consumergroup", "topic", "lag"):
        table.add_column(name, justify="right" if name == "lag" else "left")
    totals: dict[tuple[str, str], int] = {}
    for row in rows:
        place = (row.consumergroup, row.topic)
        totals[place] = totals.get(place, 0) + row.lag
    for (group, topic), total in totals.items():
        table.add_row(group, topic, str(total))
    return table
