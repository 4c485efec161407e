"""`streams handlers`: lists, pauses and resumes handlers."""

from collections.abc import Mapping
from typing import Annotated

import typer

from streams.cli import pauses as pauses_module
from streams.cli.db import open_ledger
from streams.cli.help import Command, Group, examples
from streams.cli.options import prints_rows
from streams.cli.output import WRONG_REQUEST, CommandError, JSONOption, Output, print_rows
from streams.cli.tables import Column
from streams.name_errors import unknown_name
from streams.operations.pauses import Pause, PauseKind, read_pauses
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    help="List, pause and resume handlers.",
    epilog=examples("streams handlers list"),
    add_completion=False,
)

COLUMNS = (
    Column("handler", 1),
    Column("kind", 5),
    Column("topic", 3),
    Column("pool", 4),
    Column("needs", 6, min_width=12),
    Column("paused_since", 2),
    Column("paused_by", 7, min_width=20),
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The handler's name, as in `handlers list`.")]


@app.command("list", cls=Command, epilog=examples("streams handlers list", "streams handlers list --output csv"))
@prints_rows
def list_handlers(output: Output) -> None:
    """Show every handler with its topic, pool and dependencies, and who paused the handler or its topic, since when."""
    settings = load_settings()
    with open_ledger(settings) as engine, engine.connect() as connection:
        paused = read_pauses(connection)
    print_rows(handler_rows(settings, paused), COLUMNS, output)


@app.command("pause", cls=Command, epilog=examples("streams handlers pause index-document"))
def pause(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Pause a handler on all workers until it is resumed. Deliveries that are running continue to their end."""
    settings = load_settings()
    pauses_module.pause(settings, "handler", _require_handler(settings, name), as_json=as_json)


@app.command("resume", cls=Command, epilog=examples("streams handlers resume index-document"))
def resume(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Resume a paused handler. It continues with the events that wait."""
    # The name is not checked: a handler that this version no longer has may still be paused.
    pauses_module.resume(load_settings(), "handler", name, as_json=as_json)


def handler_rows(settings: Settings, paused: Mapping[tuple[PauseKind, str], Pause]) -> list[dict[str, object]]:
    """Return one row per handler. `paused` has each pause by the kind and name of what is paused."""
    catalogue = build_catalogue(settings)
    rows: list[dict[str, object]] = []
    for handler in build_handlers(settings):
        topic = catalogue.of(handler.event)
        pause = paused.get(("handler", handler.name)) or paused.get(("topic", topic.name))
        rows.append(
            {
                "handler": handler.name,
                "kind": handler.kind,
                "topic": topic.name,
                "pool": topic.pool,
                "needs": list(handler.needs),
                "paused_since": None if pause is None else pause.since,
                "paused_by": None if pause is None else pause.by,
            }
        )
    return rows


def _require_handler(settings: Settings, name: str) -> str:
    names = sorted(handler.name for handler in build_handlers(settings))
    if name not in names:
        raise CommandError(unknown_name("handler", name, names), WRONG_REQUEST)
    return name
