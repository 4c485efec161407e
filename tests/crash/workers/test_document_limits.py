"""One document exceeds the time limit and one the memory limit; the other documents are ordinary.

Expected: both end as dead letters with the reason, and their rows have the status `error` with the same reason. The
worker process keeps running, and the ordinary documents are completed at their first attempt.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from benchmarks.generated_documents import pdf
from schemas import DocumentIndexRequested
from streams.dify.models import Document
from streams.settings import Settings
from tests.support.platform.handler_runs import open_site, prose
from tests.support.processes.worker_process import WorkerProcess, publish, rows, wait_for

MakeWorker = Callable[..., WorkerProcess]
OVERRIDES = """
[handlers.index-document]
soft_time_limit = "15s"
time_limit = "17s"
retry = { first = "1s", factor = 1, attempts = 2, jitter = 0 }
"""
ENDLESS_PAGES = 6000
"""Pages of a PDF whose indexing takes far longer than the limit."""
TOO_LARGE = 20_000_000
"""Sentences of a text that does not fit into the memory limit of this test."""


@pytest.mark.requirement(
    "Extraction",
    "a document that loops, or wants too much memory: a dead letter, and the worker lives on",
)
async def test_documents_over_the_time_or_memory_limit_fail_alone(
    topics: Settings, engine: Engine, worker: MakeWorker, database_url: str, tmp_path: Path
) -> None:
    overrides = tmp_path / "overrides.toml"
    overrides.write_text(OVERRIDES)
    async with open_site(database_url, tmp_path / "storage") as site:
        dataset = await site.add_dataset()
        endless = await site.add_document(dataset, pdf(ENDLESS_PAGES, "endless"), name="endless.pdf")
        too_large = await site.add_document(dataset, b"Many words. " * TOO_LARGE, name="too-large.txt")
        others = [await site.add_document(dataset, prose(5)) for _ in range(6)]
    one = worker(STREAMS_OVERRIDES=str(overrides), STREAMS_COMPUTE_MEMORY="256").start()
    process = one.process
    publish(topics, [_request(document) for document in (endless, too_large, *others)])

    wait_for(lambda: _ended(engine) == len(others) + 2, "all documents to have ended", seconds=100)

    shown = {str(row["id"]): row for row in rows(engine, "select id, indexing_status, error from documents")}
    assert {shown[document.id]["indexing_status"] for document in others} == {"completed"}
    succeeded = rows(engine, "select attempts from streams.executions where status = 'success'")
    assert [row["attempts"] for row in succeeded] == [1] * len(others)
    for document, words in ((endless, "time limit"), (too_large, "STREAMS_COMPUTE_MEMORY")):
        row = shown[document.id]
        assert row["indexing_status"] == "error"
        assert words in str(row["error"])
        (execution,) = rows(
            engine,
            "select status, attempts, error from streams.executions where args->>'document_id' = :id",
            id=document.id,
        )
        assert (execution["status"], execution["attempts"]) == ("failure", 2)
        assert words in str(execution["error"])
    assert one.process is process
    assert process is not None
    assert process.poll() is None


def _request(document: Document) -> DocumentIndexRequested:
    return DocumentIndexRequested(tenant_id=document.tenant_id, dataset_id=document.dataset_id, document_id=document.id)


def _ended(engine: Engine) -> int:
    return len(rows(engine, "select 1 from streams.executions where status in ('success', 'failure')"))
