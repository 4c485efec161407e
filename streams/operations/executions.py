"""What became of events: the ledger, read for people. Pending deliveries are derived, the ledger has no row of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, func, literal_column, select

from schemas.event import event_time
from streams.database.tables import TENANT_INDEXED, executions, outbox
from streams.observability.metrics import Lag

DurableStatus = Literal["started", "retry", "success", "failure"]
DURABLE: tuple[DurableStatus, ...] = ("started", "retry", "success", "failure")

LIST_FIELDS = (
    "event_id",
    "handler",
    "topic",
    "pool",
    "tenant_id",
    "status",
    "attempts",
    "created_at",
    "started_at",
    "completed_at",
    "error",
)
SHOW_FIELDS = (*LIST_FIELDS, "task_id", "args", "result", "reason", "worker", "replays", "due_at", "history")
"""`history` holds one object an attempt: attempt, started_at, completed_at, outcome, error, worker."""


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which executions; None leaves a field open."""

    status: DurableStatus | None = None
    handler: str | None = None
    topic: str | None = None
    event_id: UUID | None = None
    tenant_id: str | None = None


def list_executions(connection: Connection, wanted: ExecutionFilter, limit: int) -> list[dict[str, object]]:
    """Executions with LIST_FIELDS, the newest first."""
    columns = executions.c
    equal = {
        columns.status: wanted.status,
        columns.handler: wanted.handler,
        columns.topic: wanted.topic,
        columns.event_id: wanted.event_id,
        columns.tenant_id: wanted.tenant_id,
    }
    conditions = [column == value for column, value in equal.items() if value is not None]
    if wanted.tenant_id is not None:
        start = wanted.tenant_id[:TENANT_INDEXED]
        conditions.append(func.left(columns.tenant_id, literal_column(str(TENANT_INDEXED))) == start)
    if wanted.event_id is not None and (made_at := event_time(wanted.event_id)) is not None:
        conditions.append(columns.day == made_at.date())
    rows = connection.execute(
        select(*(columns[name] for name in LIST_FIELDS))
        .where(*conditions)
        .order_by(columns.created_at.desc(), columns.event_id, columns.handler)
        .limit(limit)
    )
    return [dict(row) for row in rows.mappings()]


def show_executions(connection: Connection, event_id: UUID, handler: str | None = None) -> list[dict[str, object]]:
    """The executions of one event with SHOW_FIELDS, one a handler; empty where the ledger has none."""
    made_at = event_time(event_id)
    if made_at is None:
        return []
    columns = executions.c
    statement = (
        select(*(columns[name] for name in SHOW_FIELDS))
        .where(columns.day == made_at.date(), columns.event_id == event_id)
        .order_by(columns.handler)
    )
    if handler is not None:
        statement = statement.where(columns.handler == handler)
    return [dict(row) for row in connection.execute(statement).mappings()]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is still in the outbox."""

    topic: str
    due_at: datetime | None
    """Not before; None: at once."""
    refusal: str | None
    """Why Kafka refused it: it is set aside."""


def waiting_in_outbox(connection: Connection, event_id: UUID) -> Waiting | None:
    """What keeps an event in the outbox; None: it is not there."""
    columns = outbox.c
    row = connection.execute(
        select(columns.topic, columns.due_at, columns.error)
        .where(columns.event_id == event_id)
        .order_by(columns.id)
        .limit(1)
    ).first()
    return None if row is None else Waiting(topic=row.topic, due_at=row.due_at, refusal=row.error)


@dataclass(frozen=True, slots=True)
class Summary:
    """How many deliveries of a handler are in which status.

    `received` is what a worker has in its window and has not begun: only that worker knows it (its metric
    `streams_in_flight`), from outside it is part of `pending`, so it is 0 here.
    """

    handler: str
    pending: int
    received: int
    started: int
    retry: int
    success: int
    failure: int


def count_by_status(connection: Connection) -> dict[tuple[str, str], int]:
    """Executions by handler and status."""
    columns = executions.c
    rows = connection.execute(
        select(columns.handler, columns.status, func.count()).group_by(columns.handler, columns.status)
    )
    return {(handler, status): count for handler, status, count in rows}


def count_outbox(connection: Connection) -> dict[str, int]:
    """Events in the outbox by topic, those that wait for their time included."""
    columns = outbox.c
    rows = connection.execute(
        select(columns.topic, func.count()).where(columns.failed_at.is_(None)).group_by(columns.topic)
    )
    return {topic: count for topic, count in rows}  # noqa: C416 - a Row is no pair for dict()


def summarize(
    handlers: Sequence[tuple[str, str]],
    counts: Mapping[tuple[str, str], int],
    outbox_by_topic: Mapping[str, int],
    lags: Iterable[Lag],
) -> list[Summary]:
    """One summary a handler, with zeros where nothing happened; those the ledger knows and the code does not, too.

    `handlers`: (handler, topic). Pending is what waits in the outbox plus what the topic's group has not committed.
    """
    behind: dict[str, int] = {}
    for lag in lags:
        behind[lag.topic] = behind.get(lag.topic, 0) + lag.lag
    topics = dict(handlers)
    names = sorted({*topics, *(handler for handler, _ in counts)})
    return [
        Summary(
            handler=name,
            pending=outbox_by_topic.get(topics.get(name, ""), 0) + behind.get(topics.get(name, ""), 0),
            received=0,
            **{status: counts.get((name, status), 0) for status in DURABLE},
        )
        for name in names
    ]
