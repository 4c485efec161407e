"""Redis, which is only a cache, is killed while documents are indexed.

Expected: each document is completed at its first attempt, without delay. The log reports the outage once. The key of an
import that ends meanwhile says so when Redis is back.
"""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from sqlalchemy import Engine

from schemas import DocumentIndexRequested, SegmentsImportRequested
from streams.agents.knowledge.document_indexing import index_document
from streams.dify.models import UploadFile
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


@pytest.mark.requirement(
    "The whole domain",
    "the keys of jobs and collections follow their state, also if the worker crashes or Redis is away",
)
@pytest.mark.timeout(300)
async def test_an_import_that_ends_without_redis_is_reported_later(
    stack: Stack, topics: Settings, engine: Engine, worker: MakeWorker, database_url: str, tmp_path: Path
) -> None:
    job_id, file_id = str(uuid4()), str(uuid4())
    async with open_site(database_url, tmp_path / "storage") as site:
        document = await site.add_document(await site.add_dataset(), prose(3))
        await site.run(index_document, site.request(document))
        key = f"upload_files/{site.tenant_id}/{file_id}.csv"
        await site.platform.storage.write(key, b"content\nA new row.\n")
        file = {"id": file_id, "tenant_id": site.tenant_id, "key": key, "storage_type": "local", "extension": "csv"}
        await site.add(UploadFile(**file, name="rows.csv", size=20, created_by=str(uuid4())))
    event = SegmentsImportRequested(
        tenant_id=document.tenant_id,
        job_id=job_id,
        document_id=document.id,
        dataset_id=document.dataset_id,
        upload_file_id=file_id,
        account_id=str(uuid4()),
    )
    one = worker().start()
    kill_server(stack, "redis")
    publish(topics, [event])
    of_handler = "select 1 from streams.executions where status = 'success' and handler = '{}'"
    wait_for(lambda: rows(engine, of_handler.format("import-segments")), "the import", 60)
    assert rows(engine, of_handler.format("report-job-end")) == []
    restore(stack)
    with Redis.from_url(topics.redis_url.get_secret_value(), decode_responses=True) as redis:
        status = f"segment_batch_import_{job_id}"
        wait_for(lambda: redis.get(status) == "completed", "the job's key", 120)
    assert rows(engine, "select 1 from streams.dead_letters") == []
    stop_cleanly(one)
