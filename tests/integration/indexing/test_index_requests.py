"""Requests for a document with a whole worker: the lease separates them, the row says what is to be done."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from schemas import DocumentIndexRequested
from streams.dify.models import Document
from streams.settings import Settings
from tests.support.platform.handler_runs import open_site, prose
from tests.support.platform.indexing_snapshots import request_again, snapshot
from tests.support.processes.worker_process import WorkerProcess, publish, rows, wait_for

MakeWorker = Callable[..., WorkerProcess]
SETTLED = "select result from streams.executions where handler = 'index-document' and status = 'success'"


@pytest.mark.requirement("Pause, resume, retry, duplicates", "two requests for one document at once do the work once")
async def test_requests_at_once_do_the_work_once(
    topics: Settings, engine: Engine, worker: MakeWorker, database_url: str, tmp_path: Path
) -> None:
    """Three requests for one document: one result has segments, the others say that it is indexed already.

    Two more requests with another content: again one of them does the work, and the previous content is deleted.
    """
    async with open_site(database_url, tmp_path / "storage") as site:
        dataset = await site.add_dataset()
        document = await site.add_document(dataset, prose(150))
        worker().start()
        assert _results(topics, engine, document, requests=3, settled=3) == ["done", "skipped", "skipped"]
        first = await snapshot(site, dataset, document.id)

        await request_again(site, document, prose(200), mark=True)
        assert _results(topics, engine, document, requests=2, settled=5) == ["done", "done", *["skipped"] * 3]
        second = await snapshot(site, dataset, document.id)
    assert 0 < len(first["segments"]) < len(second["segments"])


def _results(settings: Settings, engine: Engine, document: Document, *, requests: int, settled: int) -> list[str]:
    """Publish `requests` concurrently. Returns the sorted results of all settled ones."""
    ids = {"tenant_id": document.tenant_id, "dataset_id": document.dataset_id, "document_id": document.id}
    publish(settings, [DocumentIndexRequested(**ids) for _ in range(requests)])
    wait_for(lambda: len(rows(engine, SETTLED)) == settled, f"{settled} settled requests")
    return sorted("skipped" if "skipped" in str(row["result"]) else "done" for row in rows(engine, SETTLED))
