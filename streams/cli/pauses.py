"""Pausing and resuming, the same for topics and for handlers."""

from streams.cli.db import ledger
from streams.cli.output import print_json, say
from streams.operations import pauses
from streams.operations.pauses import PauseKind
from streams.settings import Settings


def pause(settings: Settings, kind: PauseKind, name: str, *, as_json: bool) -> None:
    """Pause it, and say whether it was paused already."""
    with ledger(settings) as engine, engine.begin() as connection:
        changed = pauses.pause(connection, kind, name)
    _say(kind, name, "paused" if changed else "was paused already", paused=True, as_json=as_json)


def resume(settings: Settings, kind: PauseKind, name: str, *, as_json: bool) -> None:
    """Let it go on, and say whether it was paused."""
    with ledger(settings) as engine, engine.begin() as connection:
        changed = pauses.resume(connection, kind, name)
    _say(kind, name, "goes on" if changed else "was not paused", paused=False, as_json=as_json)


def _say(kind: PauseKind, name: str, what: str, *, paused: bool, as_json: bool) -> None:
    if as_json:
        print_json({"kind": kind, "name": name, "paused": paused})
    else:
        say(f"{kind} {name} {what}")
