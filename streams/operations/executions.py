"""Reads the ledger's executions. Pending deliveries have no row in the ledger, so they are derived."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, literal_column, select

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
SHOW_FIELDS = (
    *LIST_FIELDS,
    "task_id",
    "args",
    "result",
    "reason",
    "worker",
    "replays",
    "due_at",
    "history",
    "warnings",
)
"""`history` has one object per attempt: attempt, started_at, completed_at, outcome, error, worker.

The last one of a cancelled execution has `by`: the account, its host, the command and the database's role. `warnings`
are texts of the handler: it succeeds, but something is missing.
"""


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Selects executions. None matches everything."""

    status: DurableStatus | None = None
    handler: str | None = None
    topic: str | None = None
    event_id: UUID | None = None
    tenant_id: str | None = None


def list_executions(connection: Connection, wanted: ExecutionFilter, limit: int) -> list[dict[str, object]]:
    """Return executions with LIST_FIELDS, the newest first.

    Args:
        connection: The ledger's database.
        wanted: Selects executions.
        limit: The maximum number of rows.
    """
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
    """Return the executions of one event, one per handler. Empty if the ledger has none.

    Each has SHOW_FIELDS, and two more. `cancelled_by` is who cancelled it, or None. `trace_id` is 32 hexadecimal
    digits, or None: its event came without a trace.

    Args:
        connection: The ledger's database.
        event_id: The event's id.
        handler: Only this handler. None: all handlers.
    """
    made_at = event_time(event_id)
    if made_at is None:
        return []
    columns = executions.c
    statement = (
        select(*(columns[name] for name in SHOW_FIELDS), columns.trace_id)
        .where(columns.day == made_at.date(), columns.event_id == event_id)
        .order_by(columns.handler)
    )
    if handler is not None:
        statement = statement.where(columns.handler == handler)
    rows = connection.execute(statement).mappings()
    return [_shown(row) for row in rows]


def _shown(row: RowMapping) -> dict[str, object]:
    fields = {name: row[name] for name in SHOW_FIELDS}
    return {**fields, "cancelled_by": _cancelled_by(row["history"]), "trace_id": _digits(row["trace_id"])}


def _digits(trace_id: UUID | None) -> str | None:
    """Return a trace id as its header and its viewer write it. PostgreSQL has it as a UUID, in half the bytes."""
    return None if trace_id is None else trace_id.hex


def _cancelled_by(history: Sequence[Mapping[str, object]]) -> object:
    """Return who cancelled an execution; None: nobody, or an older version did."""
    return next((entry["by"] for entry in reversed(history) if "by" in entry), None)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is still in the outbox."""

    topic: str
    due_at: datetime | None
    """The earliest time to send it. None: at once."""
    refusal: str | None
    """Why Kafka rejected it: then it is set aside."""


def waiting_in_outbox(connection: Connection, event_id: UUID) -> Waiting | None:
    """Return an event that is still in the outbox, or None."""
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
    """The number of a handler's deliveries in each status.

    `received` means in a worker's window but not started. Only that worker knows it, by its metric
    `streams_deliveries_waiting`. Elsewhere it is part of `pending`, so it is 0 here.
    """

    handler: str
    pending: int
    received: int
    started: int
    retry: int
    success: int
    failure: int


def count_by_status(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the number of executions by handler and status."""
    columns = executions.c
    rows = connection.execute(
        select(columns.handler, columns.status, func.count()).group_by(columns.handler, columns.status)
    )
    return {(handler, status): count for handler, status, count in rows}


def count_outbox(connection: Connection) -> dict[str, int]:
    """Return the number of events in the outbox by topic, including scheduled events."""
    columns = outbox.c
    rows = connection.execute(
        select(columns.topic, func.count()).where(columns.failed_at.is_(None)).group_by(columns.topic)
    )
    return {topic: count for topic, count in rows}  # noqa: C416 - dict() does not accept a Row as a pair


def summarize(
    handlers: Sequence[tuple[str, str]],
    counts: Mapping[tuple[str, str], int],
    outbox_by_topic: Mapping[str, int],
    lags: Iterable[Lag],
) -> list[Summary]:
    """Return one summary per handler, also for handlers that only the ledger knows. Missing counts are 0.

    Pending are the events in the outbox and those that the topic's group has not committed.

    Args:
        handlers: Pairs of handler and topic.
        counts: Executions by handler and status.
        outbox_by_topic: Events in the outbox by topic.
        lags: The lag of all groups.
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
