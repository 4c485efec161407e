"""`streams breakers`: the state of each worker's circuit breakers."""

import typer

from streams.cli.db import open_ledger
from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import Output, print_rows
from streams.cli.tables import Column
from streams.operations.breakers import list_breakers
from streams.settings import load_settings

app = typer.Typer(add_completion=False)

COLUMNS = (
    Column("dependency", 1),
    Column("worker", 3),
    Column("state", 2, styles={"closed": "green", "open": "red", "probing": "yellow"}),
    Column("failures", 5),
    Column("retry_at", 4),
    Column("error", 6, min_width=20),
    Column("seen_at", 7),
)


@app.command(cls=Command, epilog=examples("streams breakers", "streams breakers --wide"))
@prints_rows
def breakers(output: Output) -> None:
    """Show the circuit breakers of each worker.

    closed: the dependency answers. open: deliveries that need it wait. probing: one delivery tests whether it answers.
    """
    with open_ledger(load_settings()) as engine, engine.connect() as connection:
        print_rows(list_breakers(connection), COLUMNS, output, empty="no worker has reported in the last minute")
