"""`streams executions` and `streams db` on a real ledger."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, insert, text

from schemas import DocumentDeleted
from schemas.event import event_time, new_event_id
from streams.codec import build_codec
from streams.database.engines import REVISION
from streams.database.tables import executions, outbox
from streams.publishing.outbox.outbox import outbox_row
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.processes.worker_process import publish

LIST_FIELDS = [
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
]
SHOW_FIELDS = [
    *LIST_FIELDS,
    *(
        "task_id",
        "args",
        "result",
        "reason",
        "worker",
        "replays",
        "due_at",
        "history",
        "warnings",
        "cancelled_by",
        "trace_id",
        "trace_url",
    ),
]


def an_execution(engine: Engine, **fields: object) -> UUID:
    """Insert a row into the ledger. Returns its event id."""
    event_id = new_event_id()
    made_at = event_time(event_id)
    assert made_at is not None
    row: dict[str, object] = {
        "day": made_at.date(),
        "event_id": event_id,
        "handler": "clean-document",
        "task_id": uuid4(),
        "topic": "document.deleted",
        "partition": 0,
        "offset": 1,
        "tenant_id": "t1",
        "pool": "low",
        "status": "success",
        "attempts": 1,
        "created_at": made_at,
        "started_at": made_at,
        "completed_at": made_at,
        **fields,
    }
    with engine.begin() as connection:
        connection.execute(insert(executions).values(row))
    return event_id


@pytest.mark.requirement("Commands", "`executions list`, `show`, `summary` and their fields")
def test_the_list_is_newest_first_with_its_fields_and_filters(
    settings: Settings, commands: Commands, engine: Engine
) -> None:
    topic = f"{settings.topic_prefix}document.deleted"
    now = datetime.now(tz=UTC)
    old = an_execution(engine, created_at=now - timedelta(hours=1), tenant_id="t2")
    failed = an_execution(engine, created_at=now, status="failure", error="no such file", topic=topic, attempts=4)
    assert [row["event_id"] for row in commands.rows("executions", "list")] == [str(failed), str(old)]
    assert list(commands.rows("executions", "list")[0]) == LIST_FIELDS
    (row,) = commands.rows("executions", "list", "--status", "failure")
    assert (row["error"], row["attempts"], row["status"]) == ("no such file", 4, "failure")
    for filters, expected in (
        (("--topic", "document.deleted"), [failed]),
        (("--tenant", "t2"), [old]),
        (("--event", str(old)), [old]),
        (("--handler", "no-such"), []),
        (("--limit", "1"), [failed]),
    ):
        assert [row["event_id"] for row in commands.rows("executions", "list", *filters)] == [
            str(one) for one in expected
        ]


@pytest.mark.requirement("Commands", "`executions list`, `show`, `summary` and their fields")
def test_show_has_every_attempt(commands: Commands, engine: Engine) -> None:
    history = [
        {"attempt": 1, "started_at": "2026-01-01T00:00:00Z", "outcome": "retry", "error": "busy"},
        {"attempt": 2, "started_at": "2026-01-01T00:00:10Z", "outcome": "success", "error": None},
    ]
    event_id = an_execution(
        engine, attempts=2, history=history, args={"document_id": "d"}, result={"segments": 3}, warnings=["page 2"]
    )
    (shown,) = commands.rows("executions", "show", str(event_id))
    assert list(shown) == SHOW_FIELDS
    assert shown["warnings"] == ["page 2"]
    assert (shown["history"], shown["result"], shown["args"]) == (history, {"segments": 3}, {"document_id": "d"})
    for_people = commands.run("executions", "show", str(event_id), "--handler", "clean-document")
    assert for_people.returncode == 0
    assert "busy" in for_people.stdout
    assert "page 2" in for_people.stdout


def test_an_event_without_an_execution_is_one_line(settings: Settings, commands: Commands, engine: Engine) -> None:
    """The line says whether the event is unknown, in the outbox, or set aside."""
    unknown = commands.run("executions", "show", str(new_event_id()))
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    codec = build_codec(settings, load_catalogue(settings))
    event = DocumentDeleted(document_id="d", dataset_id="s", doc_form="text_model")
    with engine.begin() as connection:
        connection.execute(insert(outbox).values(outbox_row(codec.encode(event))))
    assert "pending" in commands.run("executions", "show", str(event.event_id)).stderr
    with engine.begin() as connection:
        connection.execute(text("update streams.outbox set failed_at = now(), error = 'too large'"))
    assert "too large" in commands.run("executions", "show", str(event.event_id)).stderr


@pytest.mark.requirement("Commands", "`executions list`, `show`, `summary` and their fields")
def test_the_summary_counts_every_handler_while_no_worker_runs(
    topics: Settings, commands: Commands, engine: Engine
) -> None:
    """Two events are on Kafka, one in the outbox; one succeeded, one failed. Handlers of other topics have zeros."""
    event = DocumentDeleted(document_id="d", dataset_id="s", doc_form="text_model")
    publish(topics, [event, event.model_copy(update={"event_id": new_event_id()})])
    codec = build_codec(topics, load_catalogue(topics))
    with engine.begin() as connection:
        connection.execute(insert(outbox).values(outbox_row(codec.encode(event))))
    an_execution(engine)
    an_execution(engine, status="failure")
    found = commands.json("executions", "summary")
    assert isinstance(found, list)
    by_handler = {row.pop("handler"): row for row in found}
    assert by_handler["clean-document"] == {
        "pending": 3,
        "received": 0,
        "started": 0,
        "retry": 0,
        "success": 1,
        "failure": 1,
    }
    others = [row for handler, row in by_handler.items() if handler != "clean-document"]
    assert len(others) >= 3
    assert all(not any(row.values()) for row in others)


@pytest.mark.parametrize(
    "command", [("executions", "list"), ("executions", "summary"), ("dlq", "list"), ("dlq", "replay", "x:0:0")]
)
def test_a_database_that_is_missing_or_not_migrated_is_one_line(
    commands: Commands, engine: Engine, command: tuple[str, ...]
) -> None:
    url = "postgresql://app:secret@127.0.0.1:1/platform"
    nowhere = commands.run(*command, STREAMS_DATABASE_URL=url)
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (1, 1)
    assert "STREAMS_DATABASE_URL" in nowhere.stderr
    assert "secret" not in nowhere.stderr
    with engine.begin() as connection:
        connection.execute(text("drop schema streams cascade"))
    missing = commands.run(*command)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "streams db upgrade" in missing.stderr


@pytest.mark.requirement("Commands", "`db upgrade`")
def test_db_upgrade_makes_the_schema_and_may_be_repeated(commands: Commands, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("drop schema streams cascade"))
    first = commands.json("db", "upgrade")
    assert isinstance(first, dict)
    assert (first["before"], first["after"]) == (None, REVISION)
    assert first["partitions"] > 14
    assert "nothing to do" in commands.run("db", "upgrade").stdout
    assert commands.rows("executions", "list") == []
