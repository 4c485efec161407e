"""What operators have paused: written here, obeyed by every worker within a second or two."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from streams.database.tables import pauses

PauseKind = Literal["topic", "handler"]


def pause(connection: Connection, kind: PauseKind, name: str) -> bool:
    """Pause a topic (its name on the cluster) or a handler; False: it is paused already."""
    statement = insert(pauses).values(kind=kind, name=name).on_conflict_do_nothing()
    return connection.execute(statement).rowcount > 0


def resume(connection: Connection, kind: PauseKind, name: str) -> bool:
    """Let it go on; False: it is not paused."""
    statement = delete(pauses).where(pauses.c.kind == kind, pauses.c.name == name)
    return connection.execute(statement).rowcount > 0


def paused_since(connection: Connection) -> Mapping[tuple[PauseKind, str], datetime]:
    """What is paused, by kind and name."""
    rows = connection.execute(select(pauses.c.kind, pauses.c.name, pauses.c.since))
    return {(kind, name): since for kind, name, since in rows}
