"""`streams pools`: the worker pools, with their limits and topics."""

import typer

from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import Output, print_rows
from streams.cli.tables import Column
from streams.runtime.declarations import build_catalogue, build_pools
from streams.settings import load_settings

app = typer.Typer(add_completion=False)

COLUMNS = (
    Column("name", 1),
    Column("priority", 2),
    Column("concurrency", 3),
    Column("prefetch", 4),
    Column("topics", 5, min_width=20),
)


@app.command(cls=Command, epilog=examples("streams pools", "streams pools --output csv"))
@prints_rows
def pools(output: Output) -> None:
    """Show the priority (0 is the highest), concurrency, prefetch and topics of each pool."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    rows = [
        {
            "name": pool.name,
            "priority": pool.priority,
            "concurrency": pool.concurrency,
            "prefetch": pool.prefetch,
            "topics": [topic.name for topic in catalogue.in_pool(pool.name)],
        }
        for pool in build_pools(settings)
    ]
    print_rows(rows, COLUMNS, output)
