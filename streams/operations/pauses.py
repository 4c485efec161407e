"""Pauses by operators. Every worker applies a change within two seconds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from streams.database.tables import pauses

PauseKind = Literal["topic", "handler"]


def pause(connection: Connection, kind: PauseKind, name: str) -> bool:
    """Pause a topic (by its name on the cluster) or a handler. Returns False if it is already paused."""
    statement = insert(pauses).values(kind=kind, name=name).on_conflict_do_nothing()
    return connection.execute(statement).rowcount > 0


def resume(connection: Connection, kind: PauseKind, name: str) -> bool:
    """Resume a topic or a handler. Returns False if it is not paused."""
    statement = delete(pauses).where(pauses.c.kind == kind, pauses.c.name == name)
    return connection.execute(statement).rowcount > 0


def paused_since(connection: Connection) -> Mapping[tuple[PauseKind, str], datetime]:
    """Return since when topics and handlers are paused, by kind and name."""
    rows = connection.execute(select(pauses.c.kind, pauses.c.name, pauses.c.since))
    return {(kind, name): since for kind, name, since in rows}
