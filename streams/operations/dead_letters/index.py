"""What is dead: the index of dead letters, searched."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select

from streams.database.tables import dead_letters


class DeadLetterMissingError(LookupError):
    """No dead letter has this id; the message is one line."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record in a DLQ topic, as the index knows it; `topic`, `partition`, `offset` are its origin's."""

    id: str
    topic: str
    partition: int
    offset: int
    event_id: UUID | None
    """None where the record could not be read, as `handler`."""
    handler: str | None
    tenant_id: str | None
    reason: str
    error_type: str
    error_message: str
    attempts: int
    first_failed_at: datetime
    died_at: datetime
    replayed_at: datetime | None
    dlq_topic: str
    dlq_partition: int
    dlq_offset: int


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; None leaves a field open."""

    topic: str | None = None
    """The origin's name, as it is on the cluster."""
    handler: str | None = None
    reason: str | None = None
    tenant_id: str | None = None
    event_id: UUID | None = None
    replayed: bool | None = False
    """Those not replayed, unless said otherwise; None: both."""


_WHOLE_ID = re.compile(r".+:\d+:\d+")
_COLUMNS = [dead_letters.c[name] for name in DeadLetter.__dataclass_fields__]


def list_dead_letters(connection: Connection, wanted: DeadLetterFilter, limit: int | None = None) -> list[DeadLetter]:
    """Dead letters, the newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(*_conditions(wanted))
        .order_by(dead_letters.c.died_at.desc(), dead_letters.c.id)
        .limit(limit)
    )
    return [DeadLetter(**row) for row in rows.mappings()]


def find_dead_letters(connection: Connection, ids: Sequence[str]) -> list[DeadLetter]:
    """The dead letters of these ids, in their order. Raises DeadLetterMissingError for the first that is not there."""
    rows = connection.execute(select(*_COLUMNS).where(dead_letters.c.id.in_(ids)))
    found = {row["id"]: DeadLetter(**row) for row in rows.mappings()}
    for wanted in ids:
        if wanted not in found:
            message = f"no dead letter {wanted!r}: `streams dlq list` shows those there are"
            raise DeadLetterMissingError(message)
    return [found[wanted] for wanted in dict.fromkeys(ids)]


def is_whole_id(text: str) -> bool:
    """Whether a text has the form of a dead letter's id: topic, partition, offset."""
    return _WHOLE_ID.fullmatch(text) is not None


def find_ids_starting_with(connection: Connection, prefix: str, limit: int) -> list[str]:
    """The ids of dead letters that begin so, at most `limit`, in their order."""
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
