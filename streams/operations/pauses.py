"""Pauses by operators. Every worker applies a change within two seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from streams.database.operator_note import NOTED
from streams.database.tables import pauses

PauseKind = Literal["topic", "handler"]


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of a topic or a handler."""

    since: datetime
    by: str | None
    """The account, its host, the command and the database's role; None: an older version paused it."""


def pause(connection: Connection, kind: PauseKind, name: str, *, by: str) -> bool:
    """Pause a topic or a handler. Returns False if it is already paused; then the first pause stays as it is.

    Args:
        connection: The connection of the caller's transaction.
        kind: What is paused.
        name: The name of the handler, or the topic's name on the cluster.
        by: Who pauses it, and how; it is noted with the database's role.
    """
    noted = text(NOTED).bindparams(by=by)
    statement = insert(pauses).values(kind=kind, name=name, paused_by=noted).on_conflict_do_nothing()
    return connection.execute(statement).rowcount > 0


def resume(connection: Connection, kind: PauseKind, name: str) -> bool:
    """Resume a topic or a handler. Returns False if it is not paused."""
    statement = delete(pauses).where(pauses.c.kind == kind, pauses.c.name == name)
    return connection.execute(statement).rowcount > 0


def read_pauses(connection: Connection) -> Mapping[tuple[PauseKind, str], Pause]:
    """Return the pauses by kind and name."""
    rows = connection.execute(select(pauses.c.kind, pauses.c.name, pauses.c.since, pauses.c.paused_by))
    return {(kind, name): Pause(since, by) for kind, name, since, by in rows}
