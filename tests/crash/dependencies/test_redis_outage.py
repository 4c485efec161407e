"""Redis, which is only a cache, is killed while documents are indexed.

Expected: each document is completed at its first attempt, without delay. The log reports the outage once.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from schemas import DocumentIndexRequested
from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.faults.assertions import stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.server_faults import kill_server, restore
from tests.support.platform.handler_runs import open_site, prose
from tests.support.processes.worker_process import WorkerProcess, publish, rows, wait_for

MakeWorker = Callable[..., WorkerProcess]
DOCUMENTS = 16


@pytest.mark.requirement("Faults and operations", "Redis gone, both protocols")
@pytest.mark.timeout(180)
@both_protocols
async def test_documents_are_indexed_without_redis(
    stack: Stack, topics: Settings, engine: Engine, worker: MakeWorker, database_url: str, tmp_path: Path
) -> None:
    async with open_site(database_url, tmp_path / "storage") as site:
        dataset = await site.add_dataset()
        documents = [await site.add_document(dataset, prose(20)) for _ in range(DOCUMENTS)]
    one = worker().start()
    kill_server(stack, "redis")
    publish(
        topics,
        [
            DocumentIndexRequested(tenant_id=one.tenant_id, dataset_id=one.dataset_id, document_id=one.id)
            for one in documents
        ],
    )
    done = "select attempts from streams.executions where status = 'success'"
    wait_for(lambda: len(rows(engine, done)) == DOCUMENTS, "the documents", 60)
    restore(stack)
    assert {row["attempts"] for row in rows(engine, done)} == {1}
    assert rows(engine, "select 1 from documents where indexing_status <> 'completed'") == []
    assert one.output().count("Redis does not answer") == 1
    stop_cleanly(one)
