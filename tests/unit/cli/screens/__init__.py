"""Screens of commands, rendered from fixed rows. Their golden files are in this folder."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from rich.text import Text

from streams import headers
from streams.cli import dlq, executions, handlers, lag, topics
from streams.cli.dead_letter_page import dead_letter_page
from streams.cli.execution_page import execution_page
from streams.cli.screen import Screen
from streams.cli.tables import table_lines
from streams.observability.metrics import Lag
from streams.operations.topic_lag import LagSnapshot, topic_lags

FOLDER = Path(__file__).parent
MAKE = "python -m tests.unit.cli.screens"
WIDTHS = (80, 200)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

EVENT = "0198a1b2-4c5d-7e6f-8a9b-{:012x}"
TENANT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ERROR = (
    "the collection Vector_index_7c9e6679_7425_40de_944b_e07fc1f90ae7_Node does not answer: connection to "
    "qdrant.internal:6333 refused after 5 attempts, the last of them at 11:58:03"
)
STACK = """Traceback (most recent call last):
  File "acme/runner.py", line 91, in run
    result = await handler.run(event, work)
  File "acme/apps.py", line 44, in update_dataset_joins
    raise CollectionUnreachableError(collection)
acme.vectors.CollectionUnreachableError: the collection does not answer"""


def _letter(number: int, topic: str, handler: str | None, reason: str, ago: timedelta) -> dict[str, object]:
    died = NOW - ago
    return {
        "id": f"{topic}.streams.dlq:{number % 3}:{1000 + number}",
        "topic": topic,
        "partition": number % 3,
        "offset": 48_213 + number,
        "event_id": UUID(EVENT.format(number)) if handler else None,
        "handler": handler,
        "reason": reason,
        "error_type": "acme.vectors.CollectionUnreachableError" if handler else "acme.codec.UnknownSchemaError",
        "error_message": ERROR if handler else "byte 17: the schema id 91 is unknown",
        "attempts": 5 if handler else 0,
        "first_failed_at": died - timedelta(hours=1),
        "died_at": died,
    }


LETTERS = [
    _letter(1, "app.published-workflow-updated", "update-app-dataset-joins", "exhausted", timedelta(minutes=3)),
    _letter(2, "documents.removal-requested", "remove-documents", "row-still-exists", timedelta(hours=5)),
    _letter(3, "document.index-requested", "index-document", "time-limit", timedelta(days=3)),
    _letter(4, "message.created", None, "unknown-schema", timedelta(seconds=12)),
]


def _execution(number: int, handler: str, topic: str, status: str, ago: timedelta) -> dict[str, object]:
    began = NOW - ago
    ended = status in {"success", "failure"}
    return {
        "event_id": UUID(EVENT.format(number)),
        "handler": handler,
        "topic": topic,
        "pool": "default",
        "tenant_id": TENANT,
        "status": status,
        "attempts": 5 if status == "failure" else 1,
        "created_at": began,
        "started_at": began,
        "completed_at": began + timedelta(seconds=2) if ended else None,
        "error": ERROR if status in {"failure", "retry"} else None,
    }


EXECUTIONS = [
    _execution(1, "update-app-dataset-joins", "app.published-workflow-updated", "failure", timedelta(minutes=3)),
    _execution(2, "request-document-indexing", "document.index-created", "success", timedelta(minutes=59)),
    _execution(3, "index-document", "document.index-requested", "started", timedelta(seconds=4)),
    _execution(4, "clean-document", "document.deleted", "retry", timedelta(days=2)),
]


def _attempt(number: int, outcome: str, error: str | None) -> dict[str, object]:
    at = NOW - timedelta(minutes=30 - number)
    return {
        "attempt": number,
        "started_at": at.isoformat(),
        "completed_at": (at + timedelta(seconds=2)).isoformat(),
        "outcome": outcome,
        "error": error,
        "worker": "worker-7d9f4c5b6-x2x9q:31",
    }


SHOWN_EXECUTION = {
    **EXECUTIONS[0],
    "task_id": UUID(EVENT.format(77)),
    "args": {"app_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "published_workflow_id": None, "api_key": "***"},
    "result": None,
    "reason": "exhausted",
    "worker": "worker-7d9f4c5b6-x2x9q:31",
    "replays": 0,
    "due_at": None,
    "history": [
        _attempt(1, "retry", "ConnectionError: qdrant.internal:6333 refused"),
        _attempt(2, "dead", f"CollectionUnreachableError: {ERROR}"),
    ],
    "warnings": None,
}

SHOWN_HEADERS: list[list[object]] = [
    [headers.CE_ID, EVENT.format(1)],
    [headers.CE_TYPE, "app.published-workflow-updated"],
    [headers.TRACEPARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    [headers.DLQ_TOPIC, "app.published-workflow-updated"],
    [headers.DLQ_PARTITION, "1"],
    [headers.DLQ_MESSAGE, ERROR],
    [headers.DLQ_EXCEPTION_STACKTRACE, STACK],
    [headers.DLQ_REASON, "exhausted"],
    [headers.SPRING_PARTITION, 1],
    [headers.SPRING_EXCEPTION_MESSAGE, ERROR],
    [headers.SPRING_EXCEPTION_STACKTRACE, STACK],
]

SHOWN_LETTER = {
    **{name: value for name, value in LETTERS[0].items() if name not in {"first_failed_at", "died_at"}},
    "tenant_id": TENANT,
    "first_failed_at": LETTERS[0]["first_failed_at"],
    "died_at": LETTERS[0]["died_at"],
    "replayed_at": None,
    "replayed_by": None,
    "dlq_topic": "app.published-workflow-updated.streams.dlq",
    "dlq_partition": 1,
    "dlq_offset": 1001,
    "key": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "value": "base64:AAAAAAxIM2YyNTA0ZTAtNGY4OS00MWQzLTlhMGMtMDMwNWU4MmMzMzAx",
    "event": {
        "event_id": EVENT.format(1),
        "app_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "name": "evil \x1b[31m[red]name[/red]",
    },
    "unreadable": None,
    "protection": None,
    "headers": SHOWN_HEADERS,
}


def _lag(topic: str, partition: int, current: int, end: int, group: str = "streams.default") -> Lag:
    return Lag(group, topic, partition, current_offset=current, end_offset=end, lag=end - current)


BEFORE = LagSnapshot(
    100.0,
    [
        _lag("document.index-requested", 0, 1_000, 52_000),
        _lag("document.index-requested", 1, 2_000, 2_000),
        _lag("app.published-workflow-updated", 0, 500, 530, "streams.high"),
        _lag("streams.low.retry.10m", 0, 7, 9, "streams.low"),
        _lag("document.deleted", 0, 90, 90, "streams.low"),
    ],
)
AFTER = LagSnapshot(
    102.0,
    [
        _lag("document.index-requested", 0, 1_250, 52_100),
        _lag("document.index-requested", 1, 2_000, 2_050),
        _lag("app.published-workflow-updated", 0, 507, 530, "streams.high"),
        _lag("streams.low.retry.10m", 0, 7, 9, "streams.low"),
        _lag("document.deleted", 0, 90, 90, "streams.low"),
    ],
)
OLDEST = {
    ("document.index-requested", 0): NOW - timedelta(hours=3, minutes=10),
    ("document.index-requested", 1): NOW - timedelta(seconds=1),
    ("app.published-workflow-updated", 0): NOW - timedelta(minutes=2),
}


def _handler(name: str, kind: str, topic: str, pool: str, needs: list[str], ago: timedelta | None) -> dict[str, object]:
    paused_since = None if ago is None else NOW - ago
    return {"handler": name, "kind": kind, "topic": topic, "pool": pool, "needs": needs, "paused_since": paused_since}


HANDLERS = [
    _handler("index-document", "long", "document.index-requested", "default", ["embeddings", "storage"], None),
    _handler("request-document-indexing", "single", "document.index-created", "default", [], None),
    _handler("update-app-dataset-joins", "single", "app.published-workflow-updated", "high", [], timedelta(minutes=40)),
    _handler("charge-message", "batch", "message.created", "high", [], None),
]


def _topic(name: str, event: str, key: str, pool: str, *handlers_of_it: topics.HandlerRow) -> topics.TopicRow:
    return topics.TopicRow(topic=name, event=event, key=key, pool=pool, partitions=4, handlers=list(handlers_of_it))


def _plan(name: str, kind: str) -> topics.HandlerRow:
    retry = "5 attempts, 10s times 6 up to 1h"
    return topics.HandlerRow(name=name, kind=kind, retry=retry, soft_time_limit="30m", time_limit="35m")


TOPICS = [
    _topic(
        "document.index-requested", "DocumentIndexRequested", "document_id", "default", _plan("index-document", "long")
    ),
    _topic(
        "app.published-workflow-updated",
        "AppPublishedWorkflowUpdated",
        "app_id",
        "high",
        _plan("update-app-dataset-joins", "single"),
        _plan("install-app-triggers", "single"),
    ),
    _topic("tenant.updated", "TenantUpdated", "tenant_id", "default"),
]


def _lag_lines(screen: Screen, *, everything: bool) -> list[Text]:
    return lag.lag_lines(topic_lags(AFTER, BEFORE, OLDEST), screen, everything=everything)


SCREENS: dict[str, Callable[[Screen], list[Text]]] = {
    "dlq-list": lambda screen: table_lines(dlq.COLUMNS, LETTERS, screen),
    "dlq-show": lambda screen: dead_letter_page(SHOWN_LETTER, screen),
    "executions-list": lambda screen: table_lines(executions.COLUMNS, EXECUTIONS, screen),
    "executions-show": lambda screen: execution_page([SHOWN_EXECUTION], screen),
    "handlers-list": lambda screen: table_lines(handlers.COLUMNS, HANDLERS, screen),
    "lag": lambda screen: _lag_lines(screen, everything=False),
    "lag-all": lambda screen: _lag_lines(screen, everything=True),
    "topics-list": lambda screen: table_lines(topics.COLUMNS, topics.table_rows(TOPICS), screen),
}
"""How each screen is rendered, by the name of its files without the width."""


def lines(name: str, screen: Screen) -> list[str]:
    """Render a screen as lines, with times in UTC."""
    with _utc():
        return [line.plain.rstrip() for line in SCREENS[name](screen)]


def terminal(width: int, *, wide: bool = False) -> Screen:
    """Return a terminal at the time of the rows."""
    return Screen(is_terminal=True, width=width, now=NOW, wide=wide)


def pipe() -> Screen:
    """Return a pipe at the time of the rows."""
    return Screen(is_terminal=False, width=80, now=NOW)


def golden_files(name: str) -> dict[Path, Screen]:
    """Return the golden files of a screen: one per width, and one for a pipe."""
    return {
        **{FOLDER / f"{name}-{width}.txt": terminal(width) for width in WIDTHS},
        FOLDER / f"{name}-pipe.txt": pipe(),
    }


@contextmanager
def _utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
