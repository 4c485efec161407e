"""Large events on real servers: whole for each handler, small on Kafka, removed from the storage at the end."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from streams.codec import build_codec
from streams.codec.claim_check import TICKET_MAGIC, Ticket
from streams.publishing import AsyncEventProducer, EventProducer, Outbox, PublishError
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from streams.storage import Store, open_store
from tests.integration.delivery.test_personal_data import records_of
from tests.support.apps import reports
from tests.support.apps.reports import ReportRequested, digest
from tests.support.cli import Commands
from tests.support.fakes.s3_server import BUCKET, KEY, REGION, s3_server
from tests.support.processes.worker_process import WorkerProcess, rows, scalar, wait_for

MakeWorker = Callable[..., WorkerProcess]
BODY = "Größe " * 120_000
"""840,000 bytes in UTF-8."""


@pytest.fixture
def bucket() -> Iterator[dict[str, str]]:
    """The settings of a bucket on a separate S3 server."""
    with s3_server() as url:
        yield {
            "STREAMS_STORAGE_URL": f"s3://{BUCKET}/dify",
            "STREAMS_STORAGE_ENDPOINT_URL": url,
            "STREAMS_STORAGE_REGION": REGION,
            "STREAMS_STORAGE_ACCESS_KEY": KEY,
            "STREAMS_STORAGE_SECRET_KEY": KEY,
        }


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The test's settings, with the report topics for every process."""
    registry = tmp_path / "registry"
    export(build_catalogue(Settings(handlers=(reports.__name__,))), registry)
    return {
        **environment,
        "STREAMS_HANDLERS": reports.__name__,
        "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
        "STREAMS_LEASE_SECONDS": "3s",
        "STREAMS_CLAIM_CHECK_REMOVAL": "success",
    }


def settled(engine: Engine, expected: int) -> bool:
    count = scalar(engine, "select count(*) from streams.executions where status in ('success', 'failure')")
    return count == expected


def payloads(store: Store, *events: ReportRequested) -> list[str]:
    """Return the payloads in the storage of the days of these events."""
    days = {Ticket.of(event.event_id, b"").key.split("/")[1] for event in events}
    return sorted(key for day in days for key in store.keys(f"claims/{day}"))


@pytest.mark.requirement(
    "Large events",
    "bodies above 512 KiB through the storage, transparent to both sides: outbox, producers, command, a handler's own",
)
@pytest.mark.requirement(
    "Large events",
    "the payload is deleted only after every handler succeeded: dead letters keep it, a replay finds it",
)
def test_every_way_of_publishing_is_whole_to_every_handler(
    topics: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """Outbox, producers, the command, a handler: both handlers get each whole event, in order with small ones.

    Kafka and the ledger hold little of it, and the storage nothing in the end.
    """
    codec = build_codec(topics, build_catalogue(topics))
    large = [ReportRequested(report_id="one", text=f"{number}{BODY}") for number in range(2)]
    small = ReportRequested(report_id="one", text="small")
    retried = ReportRequested(report_id="two", text=BODY, fails="once")
    copied = ReportRequested(report_id="three", text=BODY, copies=1)
    with EventProducer(topics, codec) as producer:
        assert producer.publish_many([large[0], small, retried]) == 3
    with Session(engine) as session, session.begin():
        Outbox(session, codec).publish(large[1])
        Outbox(session, codec).publish(copied)
    fields = {"report_id": "four", "text": BODY}
    by_command = commands.run("publish", "report.requested", "-", stdin=json.dumps(fields) + "\n")
    assert by_command.returncode == 0, by_command.stderr
    store = open_store(topics)
    assert len(payloads(store, *large)) == 5

    one = worker().start()
    wait_for(lambda: settled(engine, 14), "both handlers of seven events")
    results = {
        (row["event_id"], row["handler"]): row["result"] for row in rows(engine, "select * from streams.executions")
    }
    for event in (*large, small, retried, copied):
        assert {results[event.event_id, handler] for handler in ("file-report", "bind-report")} == {digest(event)}
    assert sum(result == digest(copied.model_copy(update={"text": BODY + "!"})) for result in results.values()) == 2
    wait_for(lambda: payloads(store, *large) == [], "the payloads to be removed")

    assert scalar(engine, "select max(length(args::text)) from streams.executions") < 2000  # type: ignore[operator]
    values = [value for value, _ in records_of(topics, f"{topics.topic_prefix}report.requested")]
    assert max(len(value or b"") for value in values) < 400
    began = rows(
        engine,
        "select event_id from streams.executions where handler = 'file-report' and key = 'one' order by started_at",
    )
    assert began[0]["event_id"] == large[0].event_id, "a small event does not overtake the large one before it"
    assert one.stop() == 0


@pytest.mark.requirement(
    "Large events",
    "the payload is deleted only after every handler succeeded: dead letters keep it, a replay finds it",
)
@pytest.mark.requirement("Large events", "a missing or foreign payload is a dead letter; a ticket leads nowhere else")
def test_a_dead_letter_keeps_its_payload_and_a_lost_one_is_a_dead_letter(
    topics: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """After a replay the handler gets the whole event. The error of a lost or altered payload contains its key."""
    codec = build_codec(topics, build_catalogue(topics))
    store = open_store(topics)
    refused = ReportRequested(report_id="one", text=BODY, fails="file")
    lost = ReportRequested(report_id="two", text=BODY)
    altered = ReportRequested(report_id="three", text=BODY)
    with EventProducer(topics, codec) as producer:
        producer.publish_many([refused, lost, altered])
    altered_key = Ticket.of(altered.event_id, b"").key
    store.write(altered_key, store.read(altered_key)[:-1] + b"!")
    kept = store.read(Ticket.of(lost.event_id, b"").key)
    store.delete(Ticket.of(lost.event_id, b"").key)
    one = worker().start()
    wait_for(lambda: len(commands.rows("dlq", "list")) == 3, "three dead letters")
    wait_for(lambda: settled(engine, 2), "both handlers of the refused one")
    (mismatch,) = [row for row in commands.rows("dlq", "list") if altered_key in str(row["error_message"])]
    assert mismatch["reason"] == "decode"
    letters = {row["reason"]: row for row in commands.rows("dlq", "list") if row != mismatch}
    assert "claims/" in str(letters["decode"]["error_message"])
    assert "is not in the storage" in str(letters["decode"]["error_message"])
    assert set(payloads(store, refused)) == {Ticket.of(refused.event_id, b"").key, altered_key}
    shown = commands.json("dlq", "show", str(letters["permanent"]["id"]))
    assert isinstance(shown, dict)
    assert shown["event"]["text"] == BODY
    dlq = build_catalogue(topics).dlq(f"{topics.topic_prefix}report.requested")
    assert {(value or b"")[:1] for value, _ in records_of(topics, dlq)} == {TICKET_MAGIC}

    store.write(Ticket.of(lost.event_id, b"").key, kept)
    commands.json("dlq", "replay", str(letters["decode"]["id"]))
    wait_for(lambda: settled(engine, 4), "the delivery whose payload was restored")
    assert {row["result"] for row in rows(engine, "select result from streams.executions where key = 'two'")} == {
        digest(lost)
    }
    commands.json("dlq", "replay", str(letters["permanent"]["id"]))
    wait_for(lambda: len(commands.rows("dlq", "list")) == 2, "the failing delivery to be dead-lettered again")
    assert one.stop() == 0


@pytest.mark.requirement(
    "Large events",
    "a storage that is away is a dependency, not a dead letter; a sender is told",
)
async def test_a_sender_whose_storage_is_away_is_told(topics: Settings) -> None:
    """The event is not sent, because nobody could read it."""
    assert topics.handlers
    away = topics.model_copy(update={"storage_url": "s3://payloads", "storage_endpoint_url": "http://127.0.0.1:9"})
    codec = build_codec(away, build_catalogue(away))
    async with AsyncEventProducer(away, codec) as producer:
        with pytest.raises(PublishError, match="was not sent: the storage s3://payloads does not work"):
            await producer.publish(ReportRequested(report_id="one", text=BODY))
        assert (await producer.publish(ReportRequested(report_id="one", text="small"))).offset == 0


@pytest.mark.requirement("Large events", "file and S3 behind one port")
def test_a_bucket_serves_as_well_as_a_folder(
    topics: Settings, engine: Engine, worker: MakeWorker, bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sender and worker need only the settings."""
    assert topics.handlers
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    codec = build_codec(settings, build_catalogue(settings))
    event = ReportRequested(report_id="one", text=BODY)
    with EventProducer(settings, codec) as producer:
        producer.publish(event)
    one = worker(**bucket).start()
    wait_for(lambda: settled(engine, 2), "both handlers")
    wait_for(lambda: payloads(open_store(settings), event) == [], "the payload to be removed")
    assert {row["result"] for row in rows(engine, "select result from streams.executions")} == {digest(event)}
    assert one.stop() == 0
