"""`streams breakers`: which dependencies answer, as each worker sees it."""

import typer

from streams.cli.db import ledger
from streams.cli.output import JSONOption, print_rows
from streams.operations.breakers import list_breakers
from streams.settings import load_settings

app = typer.Typer(add_completion=False)


@app.command()
def breakers(*, as_json: JSONOption = False) -> None:
    """Show each worker's breakers: closed (it answers), open (work waits), probing (one delivery tries)."""
    with ledger(load_settings()) as engine, engine.connect() as connection:
        print_rows(list_breakers(connection), as_json=as_json, empty="no worker has told in the last minute")
