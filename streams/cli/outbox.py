"""`streams outbox`: counts waiting events, and lists, retries and drops rows that Kafka refused."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import Connection

from streams.cli.db import open_ledger
from streams.cli.help import Command, Group, examples
from streams.cli.options import MAX_ROWS, prints_rows
from streams.cli.output import (
    WRONG_REQUEST,
    CommandError,
    Format,
    JSONOption,
    Output,
    print_json,
    print_rows,
    print_text,
)
from streams.cli.tables import Column
from streams.cli.times import absolute, relative
from streams.publishing.outbox.depth import measure_depth
from streams.publishing.outbox.rejected import drop_set_aside, list_set_aside, retry_set_aside
from streams.settings import load_settings

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="Inspect the outbox, and retry or drop the rows that Kafka refused.",
    epilog=examples("streams outbox list"),
)

COLUMNS = (
    Column("id", 1),
    Column("event_id", 5),
    Column("topic", 2),
    Column("created_at", 6),
    Column("failed_at", 3),
    Column("error", 4, min_width=20),
)

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="ID", help="The ids of rows, as in `outbox list`.")]
AllOption = Annotated[bool, typer.Option("--all", help="Select all rows that are set aside, instead of IDs.")]


@app.command(
    "list", cls=Command, epilog=examples("streams outbox list", "streams outbox list --limit 500 --output csv")
)
@prints_rows
def list_command(
    output: Output,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_ROWS, help="Show at most this many rows.")] = 50,
) -> None:
    """Show how many events wait and since when, and the rows that Kafka refused, the latest first."""
    with open_ledger(load_settings()) as engine, engine.connect() as connection:
        depth = measure_depth(connection)
        refused = [asdict(row) for row in list_set_aside(connection, limit)]
    oldest = None if depth.oldest is None else datetime.fromtimestamp(depth.oldest, tz=UTC)
    if output.format is Format.JSON:
        counts = {"waiting": depth.waiting, "oldest": oldest, "set_aside": depth.set_aside}
        print_json({**counts, "rows": refused})
        return
    if output.is_table:
        screen = output.screen
        at = oldest and (
            f"{absolute(oldest)}, {relative(oldest, screen.now)}" if screen.is_terminal else absolute(oldest)
        )
        print_text(f"{depth.waiting} waiting{f', the oldest since {at}' if at else ''}; {depth.set_aside} set aside")
    if refused or not output.is_table:
        print_rows(refused, COLUMNS, output)


@app.command("retry", cls=Command, epilog=examples("streams outbox retry 4711", "streams outbox retry --all"))
def retry(ids: IdsArgument = None, *, everything: AllOption = False, as_json: JSONOption = False) -> None:
    """Return rows that were set aside to the outbox, for example after their topic was created."""
    done = _change(retry_set_aside, ids, everything=everything)
    _print_result(done, "will be sent again", "retried", as_json=as_json)


@app.command("drop", cls=Command, epilog=examples("streams outbox drop 4711 4712 --yes"))
def drop(
    ids: IdsArgument = None,
    *,
    everything: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm that the events are deleted. Required.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Delete rows that were set aside. This cannot be undone."""
    if not yes:
        message = "dropping events cannot be undone: confirm with --yes"
        raise CommandError(message, WRONG_REQUEST)
    done = _change(drop_set_aside, ids, everything=everything)
    _print_result(done, "dropped", "dropped", as_json=as_json)


def _change(
    change: Callable[[Connection, Sequence[int] | None], list[int]], ids: list[int] | None, *, everything: bool
) -> list[int]:
    """Apply a change to all rows, or to none if one of them is not set aside."""
    if bool(ids) == everything:
        message = "give the IDs of rows, or --all"
        raise CommandError(message, WRONG_REQUEST)
    with open_ledger(load_settings()) as engine, engine.begin() as connection:
        done = change(connection, None if everything else ids)
        if missing := set(ids or ()) - set(done):
            message = f"not set aside in the outbox: {', '.join(map(str, sorted(missing)))}; nothing was changed"
            raise CommandError(message)
    return done


def _print_result(ids: list[int], what: str, name: str, *, as_json: bool) -> None:
    if as_json:
        print_json({name: ids})
    else:
        print_text(f"{len(ids)} {'row' if len(ids) == 1 else 'rows'} {what}")
