"""`streams handlers`: what works on events, and which of it is paused."""

import typer

from streams.cli import pauses as pauses_module
from streams.cli.db import ledger
from streams.cli.output import WRONG_REQUEST, CommandError, JSONOption, print_rows
from streams.operations.pauses import paused_since
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.settings import Settings, load_settings

app = typer.Typer(help="Handlers: what they need, which are paused.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_handlers(*, as_json: JSONOption = False) -> None:
    """Show every handler with its topic, pool and needs, and since when it, or its topic, is paused."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with ledger(settings) as engine, engine.connect() as connection:
        paused = paused_since(connection)
    rows: list[dict[str, object]] = []
    for handler in build_handlers(settings):
        topic = catalogue.of(handler.event)
        rows.append(
            {
                "handler": handler.name,
                "kind": handler.kind,
                "topic": topic.name,
                "pool": topic.pool,
                "needs": list(handler.needs),
                "paused_since": paused.get(("handler", handler.name)) or paused.get(("topic", topic.name)),
            }
        )
    print_rows(rows, as_json=as_json)


@app.command("pause")
def pause(name: str, *, as_json: JSONOption = False) -> None:
    """Begin nothing more of this handler, on any worker, until it is resumed; what runs goes on to its end."""
    settings = load_settings()
    pauses_module.pause(settings, "handler", _known(settings, name), as_json=as_json)


@app.command("resume")
def resume(name: str, *, as_json: JSONOption = False) -> None:
    """Let a paused handler go on, with what has waited."""
    # Not checked: a handler that this version no longer has may still be paused.
    pauses_module.resume(load_settings(), "handler", name, as_json=as_json)


def _known(settings: Settings, name: str) -> str:
    names = sorted(handler.name for handler in build_handlers(settings))
    if name not in names:
        raise CommandError(f"no handler {name!r}; there are: {', '.join(names)}", WRONG_REQUEST)
    return name
