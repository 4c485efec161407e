"""A worker is killed in the middle of its work and restarted. Every row, vector and sum is as without the kill."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from schemas import DocumentIndexRequested, MessageCreated
from streams.dify.extraction.result import Part
from streams.dify.ids import node_id, text_hash
from streams.dify.splitting.rules import AUTOMATIC
from streams.dify.splitting.text import text_pieces
from streams.settings import Settings
from tests.support.faults.assertions import LEASES, backlog
from tests.support.platform.handler_runs import open_site, prose
from tests.support.platform.provider_rows import make_provider
from tests.support.processes.worker_process import Streams, WorkerProcess, publish, rows, scalar, wait_for

MakeWorker = Callable[..., WorkerProcess]
QUICK_LEASES = {"STREAMS_LEASE_SECONDS": "3s", "STREAMS_SWEEP_INTERVAL": "1s"}
DOCUMENTS = 12
PARAGRAPHS = 120
MESSAGES = 30_000


@pytest.mark.requirement("Races", "a worker killed at each step")
@pytest.mark.requirement("Faults and operations", "a worker killed while it indexes, rows compared")
async def test_indexing_continues_after_each_kill_without_duplicates(
    topics: Settings, engine: Engine, worker: MakeWorker, database_url: str, tmp_path: Path
) -> None:
    """The worker is killed while it splits and loads twelve documents. Each has exactly the segments of its text."""
    async with open_site(database_url, tmp_path / "storage") as site:
        dataset = await site.add_dataset()
        texts = {}
        for number in range(DOCUMENTS):
            text = prose(PARAGRAPHS + number)
            document = await site.add_document(dataset, text, position=number + 1)
            texts[document.id] = text.decode()
    publish(
        topics,
        [
            DocumentIndexRequested(tenant_id=dataset.tenant_id, dataset_id=dataset.id, document_id=document_id)
            for document_id in texts
        ],
    )
    # Only twice: a delivery that loses its third lease becomes a dead letter.
    for seen in ("parsing_completed_at is not null", "completed_at is not null"):
        one = worker(**QUICK_LEASES).start()
        query = f"select count(*) from documents where {seen}"
        wait_for(partial(scalar, engine, query), seen)
        one.kill()
    worker(**QUICK_LEASES).start()
    wait_for(lambda: completed(engine) == DOCUMENTS, "all documents", seconds=60)
    wait_for(lambda: not rows(engine, "select 1 from streams.executions where status <> 'success'"), "the ledger")
    assert scalar(engine, LEASES) == 0
    (collection,) = rows(engine, "select tablename from pg_tables where tablename like 'embedding_vector%'")
    for document_id, plain in texts.items():
        expected = text_pieces([Part(plain)], AUTOMATIC)
        found = rows(
            engine,
            "select s.position, content, index_node_id, status, s.enabled, s.created_at, processing_started_at"
            " from document_segments as s join documents on documents.id = document_id"
            " where document_id = :id order by s.position",
            id=document_id,
        )
        assert [(row["position"], row["content"]) for row in found] == [
            (piece.position, piece.content) for piece in expected
        ]
        assert {(row["status"], row["enabled"]) for row in found} == {("completed", True)}
        assert all(row["created_at"] == row["processing_started_at"] for row in found)
        nodes = {
            node_id(document_id, started_at, int(str(row["position"])), text_hash(str(row["content"])))
            for row in found
            if isinstance(started_at := row["processing_started_at"], datetime)
        }
        assert {row["index_node_id"] for row in found} == nodes
        stored = rows(
            engine,
            f"select id from {collection['tablename']} where meta->>'document_id' = :id",
            id=document_id,
        )
        assert {str(row["id"]) for row in stored} == nodes
        assert len(stored) == len(found)


@pytest.mark.requirement("Faults and operations", "a worker killed while it charges messages, sums compared")
async def test_messages_are_charged_once_despite_kills(
    topics: Settings, engine: Engine, worker: MakeWorker, database_url: str, tmp_path: Path, streams: Streams
) -> None:
    """The worker is killed twice while it charges 30,000 messages of three tenants. Each quota is the correct sum."""
    tenants = [str(uuid4()) for _ in range(3)]
    async with open_site(database_url, tmp_path / "storage") as site:
        await site.add(*(make_provider(tenant, quota_limit=10**9) for tenant in tenants))
    events = [make_message(number, tenants[number % 3]) for number in range(MESSAGES)]
    assert publish(topics, events) == MESSAGES
    for part in (0.05, 0.5):
        one = worker().start()
        wait_for(partial(charged_more_than, engine, MESSAGES * part), f"{part:.0%} of the messages")
        one.kill()
    between = charged(engine)
    last = worker().start()
    wait_for(lambda: charged(engine) == MESSAGES, "all messages")
    wait_for(lambda: backlog(streams) == 0, "the offsets to be committed")
    assert between > 0
    for tenant in tenants:
        due = sum(event.message_tokens + event.answer_tokens for event in events if event.tenant_id == tenant)
        assert scalar(engine, "select quota_used from providers where tenant_id = :id", id=tenant) == due
    assert charged(engine) == MESSAGES
    assert last.stop() == 0


def make_message(number: int, tenant: str) -> MessageCreated:
    """Return a message that uses some tokens."""
    return MessageCreated(
        tenant_id=tenant,
        message_id=str(UUID(int=number)),
        app_id=f"app-{number % 50}",
        provider_name="openai",
        model="gpt-4o",
        provider_type="system",
        quota_type="trial",
        quota_unit="tokens",
        quota_limit=10**9,
        message_tokens=number % 97,
        answer_tokens=number % 31,
    )


def completed(engine: Engine) -> object:
    """Return the number of indexed documents."""
    return scalar(engine, "select count(*) from documents where indexing_status = 'completed'")


def charged(engine: Engine) -> int:
    """Return the number of messages in the ledger."""
    return int(str(scalar(engine, "select count(*) from streams.executions where handler = 'charge-message'")))


def charged_more_than(engine: Engine, count: float) -> bool:
    """Return whether more than `count` messages are in the ledger."""
    return charged(engine) > count
