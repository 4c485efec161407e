"""Searches the index of dead letters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select

from streams.database.tables import dead_letters


class DeadLetterMissingError(LookupError):
    """There is no dead letter with this id. The message is one line."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The index's row of a record in a DLQ. `topic`, `partition` and `offset` are those of its origin."""

    id: str
    topic: str
    partition: int
    offset: int
    event_id: UUID | None
    """None, like `handler`, if the record could not be decoded."""
    handler: str | None
    tenant_id: str | None
    reason: str
    error_type: str
    error_message: str
    attempts: int
    first_failed_at: datetime
    died_at: datetime
    replayed_at: datetime | None
    replayed_by: str | None
    """The account, its host, the database's role and the command; None: not replayed, or by an older version."""
    dlq_topic: str
    dlq_partition: int
    dlq_offset: int


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects dead letters. None matches everything."""

    topic: str | None = None
    """The origin's name on the cluster."""
    handler: str | None = None
    reason: str | None = None
    tenant_id: str | None = None
    event_id: UUID | None = None
    replayed: bool | None = False
    """By default, only those that were not replayed. None: both."""


_WHOLE_ID = re.compile(r".+:\d+:\d+")
_COLUMNS = [dead_letters.c[name] for name in DeadLetter.__dataclass_fields__]


def list_dead_letters(connection: Connection, wanted: DeadLetterFilter, limit: int | None = None) -> list[DeadLetter]:
    """Return dead letters, the newest first.

    Args:
        connection: The index's database.
        wanted: Selects dead letters.
        limit: The maximum number of rows. None: all.
    """
    rows = connection.execute(
        select(*_COLUMNS)
        .where(*_conditions(wanted))
        .order_by(dead_letters.c.died_at.desc(), dead_letters.c.id)
        .limit(limit)
    )
    return [DeadLetter(**row) for row in rows.mappings()]


def find_dead_letters(connection: Connection, ids: Sequence[str]) -> list[DeadLetter]:
    """Return the dead letters with these ids, in their order. Raises DeadLetterMissingError for an unknown id."""
    rows = connection.execute(select(*_COLUMNS).where(dead_letters.c.id.in_(ids)))
    found = {row["id"]: DeadLetter(**row) for row in rows.mappings()}
    for wanted in ids:
        if wanted not in found:
            message = f"no dead letter {wanted!r}: `streams dlq list` shows the existing ones"
            raise DeadLetterMissingError(message)
    return [found[wanted] for wanted in dict.fromkeys(ids)]


def is_whole_id(text: str) -> bool:
    """Return True if a text has the form of a dead letter's id: topic, partition, offset."""
    return _WHOLE_ID.fullmatch(text) is not None


def find_ids_starting_with(connection: Connection, prefix: str, limit: int) -> list[str]:
    """Return the ids of dead letters that start with a prefix, in their order.

    Args:
        connection: The index's database.
        prefix: The start of the ids.
        limit: The maximum number of ids.
    """
    columns = dead_letters.c
    rows = connection.execute(
        select(columns.id).where(columns.id.startswith(prefix, autoescape=True)).order_by(columns.id).limit(limit)
    )
    return list(rows.scalars())


def _conditions(wanted: DeadLetterFilter) -> list[ColumnElement[bool]]:
    columns = dead_letters.c
    equal = {
        columns.topic: wanted.topic,
        columns.handler: wanted.handler,
        columns.reason: wanted.reason,
        columns.tenant_id: wanted.tenant_id,
        columns.event_id: wanted.event_id,
    }
    conditions: list[ColumnElement[bool]] = [column == value for column, value in equal.items() if value is not None]
    if wanted.replayed is not None:
        replayed = columns.replayed_at.is_not(None)
        conditions.append(replayed if wanted.replayed else ~replayed)
    return conditions
