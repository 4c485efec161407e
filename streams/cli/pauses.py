"""Pauses and resumes a topic or a handler."""

from streams.cli.db import open_ledger
from streams.cli.operator import operator_note
from streams.cli.output import print_json, print_text
from streams.operations import pauses
from streams.operations.pauses import PauseKind
from streams.settings import Settings


def pause(settings: Settings, kind: PauseKind, name: str, *, as_json: bool) -> None:
    """Pause a topic or handler, and print whether it was already paused."""
    note = operator_note(f"{kind}s", "pause", name)
    with open_ledger(settings) as engine, engine.begin() as connection:
        changed = pauses.pause(connection, kind, name, by=note)
    _print_result(kind, name, "is paused" if changed else "was already paused", paused=True, as_json=as_json)


def resume(settings: Settings, kind: PauseKind, name: str, *, as_json: bool) -> None:
    """Resume a topic or handler, and print whether it was paused."""
    with open_ledger(settings) as engine, engine.begin() as connection:
        changed = pauses.resume(connection, kind, name)
    _print_result(kind, name, "is resumed" if changed else "was not paused", paused=False, as_json=as_json)


def _print_result(kind: PauseKind, name: str, what: str, *, paused: bool, as_json: bool) -> None:
    if as_json:
        print_json({"kind": kind, "name": name, "paused": paused})
    else:
        print_text(f"{kind} {name} {what}")
