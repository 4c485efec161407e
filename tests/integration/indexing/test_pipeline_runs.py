"""Runs of pipelines: the platform is asked, the file of the run is deleted after success, the tenant's list goes on."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from werkzeug.serving import make_server

from schemas import DocumentIndexCreated, DocumentIndexRequested, PipelineRunRequested
from streams.agents.knowledge.document_indexing import request_document_indexing
from streams.agents.knowledge.pipeline_runs import run_pipeline
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import ServiceError
from streams.dify.models import Document, UploadFile
from streams.dify.pipelines.client import PATH
from streams.dify.pipelines.waiting_list import FLAG, LIST, WaitingLists
from streams.dify.redis import RedisClients
from streams.publishing.bridges.pipeline_blueprint import RedisClient, Runs, init_app
from streams.settings import Settings
from tests.support.fakes.http_service import NOTHING, Answer, HttpService, open_http_service
from tests.support.platform.handler_runs import CrashError, Site, open_site

SECTION, TOPIC = "The whole domain", "pipeline.run-requested"
RUN = f"POST {PATH}"
DONE = Answer({"state": "done", "runs": 2})


@dataclass
class Pipelines:
    """A tenant with files of runs, and the platform's side."""

    site: Site
    platform: HttpService
    redis: Redis

    async def add_file(self, tenant_id: str | None = None, document_ids: tuple[str, ...] = ()) -> UploadFile:
        tenant, id_ = tenant_id or self.site.tenant_id, str(uuid4())
        entities = [{"application_generate_entity": {"document_id": one}} for one in document_ids]
        file = UploadFile(
            id=id_,
            tenant_id=tenant,
            storage_type="local",
            key=f"upload_files/{tenant}/{id_}.txt",
            name="rag_pipeline_invoke_entities.json",
            size=2,
            extension="txt",
            created_by=str(uuid4()),
        )
        await self.site.platform.storage.write(file.key, json.dumps([*entities, {}, 1]).encode())
        await self.site.add(file)
        return file

    def event(self, file: UploadFile, **fields: object) -> PipelineRunRequested:
        known: dict[str, object] = {"tenant_id": self.site.tenant_id, "file_id": file.id}
        return PipelineRunRequested.model_validate({**known, **fields})

    async def wait(self, *file_ids: str) -> None:
        """Do what the platform's API does with further files while one runs."""
        await self.redis.set(FLAG.format(self.site.tenant_id), 1, ex=60)
        for id_ in file_ids:
            await self.redis.lpush(LIST.format(self.site.tenant_id), id_)

    async def waiting(self) -> int:
        return await self.redis.llen(LIST.format(self.site.tenant_id))

    async def flag(self) -> int:
        """Return the seconds that the flag lives; -2: it is not set."""
        return await self.redis.ttl(FLAG.format(self.site.tenant_id))

    async def next_files(self) -> list[str | None]:
        events = await self.site.published()
        assert all(isinstance(event, PipelineRunRequested) and not event.priority for event in events)
        return [event.file_id for event in events if isinstance(event, PipelineRunRequested)]


@pytest.fixture
def platform() -> Iterator[HttpService]:
    with open_http_service() as service:
        service.answer(RUN, DONE)
        yield service


@pytest.fixture
async def pipelines(settings: Settings, platform: HttpService, tmp_path: Path) -> AsyncIterator[Pipelines]:
    url = settings.redis_url.get_secret_value()
    more = {"pipeline_url": platform.url, "pipeline_key": "key", "redis_url": url}
    redis = Redis.from_url(url)
    async with open_site(settings.database_url.get_secret_value(), tmp_path, **more) as site:
        yield Pipelines(site, platform, redis)
    await redis.aclose()


@pytest.mark.requirement(SECTION, f"{TOPIC}: the file is deleted after success, and the tenant's next file runs")
async def test_a_run_and_the_next_one(pipelines: Pipelines) -> None:
    """First come, first served. After the last one the flag is deleted."""
    first, second = await pipelines.add_file(), await pipelines.add_file()
    await pipelines.wait(second.id)
    assert await pipelines.site.run(run_pipeline, pipelines.event(first)) == {"runs": 2}
    [request] = pipelines.platform.requests
    assert request.headers["authorization"] == "Bearer key"
    assert await pipelines.site.count(UploadFile, id=first.id) == 0
    assert not await pipelines.site.platform.storage.exists(first.key)
    assert await pipelines.flag() > 3500
    [following] = await pipelines.site.published()
    assert isinstance(following, PipelineRunRequested)
    assert (following.file_id, following.tenant_id) == (second.id, pipelines.site.tenant_id)
    await pipelines.site.run(run_pipeline, following)
    assert (await pipelines.next_files(), await pipelines.flag()) == ([], -2)


@pytest.mark.requirement(SECTION, f"{TOPIC}: a priority run does not use the waiting list")
async def test_a_priority_run(pipelines: Pipelines) -> None:
    file = await pipelines.add_file()
    await pipelines.wait("another file")
    await pipelines.site.run(run_pipeline, pipelines.event(file, priority=True))
    assert (await pipelines.next_files(), await pipelines.waiting()) == ([], 1)
    assert 0 < await pipelines.flag() <= 60


@pytest.mark.requirement(SECTION, f"{TOPIC}: a repeat runs nothing again and takes no other file from the list")
async def test_a_repeat(pipelines: Pipelines) -> None:
    """Also another event for the same file: the file is deleted, so it was run. That event serves the list too."""
    file = await pipelines.add_file()
    await pipelines.wait("one", "two")
    event = pipelines.event(file)
    await pipelines.site.run(run_pipeline, event)
    [first] = await pipelines.site.published()
    assert "skipped" in str(await pipelines.site.run(run_pipeline, event))
    assert await pipelines.site.published() == [first]
    await pipelines.site.run(run_pipeline, pipelines.event(file))
    assert await pipelines.next_files() == ["two"]
    assert len(pipelines.platform.requests) == 1


@pytest.mark.requirement(SECTION, f"{TOPIC}: a worker that is killed loses no file of the waiting list")
async def test_a_crash_after_the_next_file_was_taken(pipelines: Pipelines) -> None:
    """Redis has given the file away, and the transaction with its event is lost. The repeat publishes it."""
    file = await pipelines.add_file()
    await pipelines.wait("the next")

    async def kill(step: int) -> None:
        if step == 2:
            raise CrashError

    with pytest.raises(CrashError):
        await pipelines.site.run(run_pipeline, pipelines.event(file, event_id=(id_ := uuid4())), before_commit=kill)
    assert (await pipelines.next_files(), await pipelines.waiting()) == ([], 0)
    await pipelines.site.run(run_pipeline, pipelines.event(file, event_id=id_))
    assert await pipelines.next_files() == ["the next"]


@pytest.mark.requirement(SECTION, f"{TOPIC}: after a failure the file stays, and the next file runs once")
async def test_after_a_failure_the_list_goes_on(pipelines: Pipelines) -> None:
    """Two failed attempts take one file from the list, and the event is the same. Then the run succeeds."""
    file = await pipelines.add_file()
    await pipelines.wait("one", "two")
    event = pipelines.event(file)
    pipelines.platform.answer(RUN, Answer({"state": "failed", "reason": "1 of 2 runs: ValueError"}))
    published = []
    for _ in range(2):
        with pytest.raises(ServiceError, match="1 of 2 runs: ValueError"):
            await pipelines.site.run(run_pipeline, event)
        published += await pipelines.site.published()
    assert published[0] == published[1]
    assert await pipelines.site.count(UploadFile, id=file.id) == 1
    pipelines.platform.answer(RUN, DONE)
    await pipelines.site.run(run_pipeline, event)
    assert await pipelines.site.published() == published[:1]
    assert await pipelines.waiting() == 1
    assert await pipelines.site.count(UploadFile, id=file.id) == 0


@pytest.mark.requirement(SECTION, f"{TOPIC}: a platform that does not answer is waited for, and the list too")
async def test_failing_answers(pipelines: Pipelines) -> None:
    """What has not run takes no file from the list. Everything is a retry."""
    file = await pipelines.add_file()
    await pipelines.wait("one")
    event = pipelines.event(file)
    kinds: list[tuple[Answer, type[Exception]]] = [
        (Answer({}, 429, {"Retry-After": "7"}), Retry),
        (Answer({}, 500), Unavailable),
        (NOTHING, Unavailable),
    ]
    for answer, error in kinds:
        pipelines.platform.answer(RUN, answer)
        with pytest.raises(error):
            await pipelines.site.run(run_pipeline, event)
        assert (await pipelines.next_files(), await pipelines.waiting()) == ([], 1)
    for answer in (Answer(b"<html>"), Answer({"state": "lost"}), Answer({}, 401)):
        pipelines.platform.answer(RUN, answer)
        with pytest.raises(ServiceError):
            await pipelines.site.run(run_pipeline, event)
    assert await pipelines.site.count(UploadFile, id=file.id) == 1


@pytest.mark.requirement(SECTION, f"{TOPIC}: a platform that does not answer is waited for, and the list too")
async def test_without_redis_the_list_waits(pipelines: Pipelines) -> None:
    """Before the run: nothing has run. After it: no attempt counts. A dead run still shows in its documents."""
    site = pipelines.site
    dataset = await site.add_dataset(runtime_mode="rag_pipeline")
    document = await site.add_document(dataset, None)
    file = await pipelines.add_file(document_ids=(document.id,))
    event = pipelines.event(file)
    nowhere = RedisClients(lambda: Redis.from_url("redis://127.0.0.1:1/0"))
    cut_off = replace(site, platform=replace(site.platform, waiting_lists=WaitingLists(nowhere, seconds=5)))
    with pytest.raises(Unavailable, match="Redis does not answer") as away:
        await cut_off.run(run_pipeline, event)
    assert (away.value.dependency, pipelines.platform.requests) == ("redis", [])
    await cut_off.die(run_pipeline, event, RuntimeError("no more attempts"))
    failed = await site.document(document.id)
    assert (failed.indexing_status, failed.error) == ("error", "no more attempts")


@pytest.mark.requirement(SECTION, f"{TOPIC}: a run that is under way is awaited")
async def test_a_run_under_way_is_awaited(pipelines: Pipelines) -> None:
    """An earlier request was cut off, for example by a proxy."""
    answers = iter([Answer({"state": "running", "retry_after": 0.01})] * 2)
    pipelines.platform.answer(RUN, lambda _: next(answers, DONE))
    assert await pipelines.site.run(run_pipeline, pipelines.event(await pipelines.add_file())) == {"runs": 2}
    assert len({str(body) for body in pipelines.platform.bodies(RUN)}) == 1
    assert len(pipelines.platform.requests) == 3


@pytest.mark.requirement(SECTION, f"{TOPIC}: a dead run shows in its documents, and the next file runs")
async def test_a_dead_run(pipelines: Pipelines) -> None:
    """Documents that wait get the status error. Those of another tenant, which the file names too, stay."""
    site = pipelines.site
    dataset = await site.add_dataset(runtime_mode="rag_pipeline")
    theirs = await site.add_dataset(runtime_mode="rag_pipeline", tenant_id=str(uuid4()))
    waiting, done = [await site.add_document(dataset, None, indexing_status=s) for s in ("waiting", "completed")]
    foreign = await site.add_document(theirs, None, tenant_id=theirs.tenant_id)
    file = await pipelines.add_file(document_ids=(waiting.id, done.id, foreign.id, "x"))
    await pipelines.wait("the next")
    pipelines.platform.answer(RUN, Answer({"state": "refused", "reason": "no"}))
    event = pipelines.event(file)
    with pytest.raises(Permanent, match="refuse the run: no") as dead:
        await site.run(run_pipeline, event)
    await site.die(run_pipeline, event, dead.value)
    states = [(await site.document(one.id)).indexing_status for one in (waiting, done, foreign)]
    assert states == ["error", "completed", "waiting"]
    assert await pipelines.next_files() == ["the next"]
    assert await site.count(UploadFile, id=file.id) == 1


@pytest.mark.requirement(SECTION, f"{TOPIC}: an event of one tenant runs no file and no document of another")
async def test_tenants_are_apart(pipelines: Pipelines) -> None:
    """No request is sent, no file is deleted, and no document changes when the event dies."""
    site, other = pipelines.site, str(uuid4())
    theirs = await site.add_dataset(runtime_mode="rag_pipeline", tenant_id=other)
    document = await site.add_document(theirs, None, tenant_id=other)
    file = await pipelines.add_file(tenant_id=other, document_ids=(document.id,))
    retry = {"file_id": None, "dataset_id": theirs.id, "document_ids": [document.id], "priority": True}
    for event in (pipelines.event(file), pipelines.event(file, **retry)):
        with pytest.raises(Permanent, match="belongs to another tenant") as dead:
            await site.run(run_pipeline, event)
        await site.die(run_pipeline, event, dead.value)
    for wrong in ({"tenant_id": None}, {"tenant_id": "t"}, {"file_id": "f"}, {"file_id": None}):
        event = pipelines.event(file).model_copy(update=wrong)
        with pytest.raises(Permanent) as dead:
            await site.run(run_pipeline, event)
        await site.die(run_pipeline, event, dead.value)
    assert pipelines.platform.requests == []
    assert await site.count(UploadFile, id=file.id) == 1
    assert await site.count(Document, id=document.id, indexing_status="waiting") == 1


@pytest.mark.requirement(SECTION, f"{TOPIC}: retries of pipeline documents are routed to the platform")
async def test_retries_of_pipeline_documents(pipelines: Pipelines, database_url: str, tmp_path: Path) -> None:
    """One request for all documents. Other datasets, and deployments without the URL, go on as before."""
    site = pipelines.site
    dataset, usual = await site.add_dataset(runtime_mode="rag_pipeline"), await site.add_dataset()
    ids = [(await site.add_document(dataset, None)).id for _ in range(2)]
    await pipelines.redis.set(f"document_{ids[0]}_is_retried", 1, ex=60)
    created = DocumentIndexCreated(dataset_id=dataset.id, document_ids=[*ids, ids[0]])
    assert await site.run(request_document_indexing, created) == {"pipeline": 2}
    [event] = await site.published()
    assert isinstance(event, PipelineRunRequested)
    assert (event.tenant_id, event.dataset_id, event.document_ids) == (site.tenant_id, dataset.id, ids)
    assert await site.run(run_pipeline, event) == {"runs": 2}
    assert pipelines.platform.bodies(RUN) == [
        {
            "event_id": str(event.event_id),
            "tenant_id": site.tenant_id,
            "dataset_id": dataset.id,
            "document_ids": ids,
        }
    ]
    assert await pipelines.redis.get(f"document_{ids[0]}_is_retried") is None
    for dataset_id in (usual.id, str(uuid4()), "no id"):
        other = created.model_copy(update={"dataset_id": dataset_id})
        assert await site.run(request_document_indexing, other) == {"requested": 2}
    assert all(isinstance(one, DocumentIndexRequested) for one in await site.published())
    async with open_site(database_url, tmp_path) as without:
        assert await without.run(request_document_indexing, created) == {"requested": 2}


class TwoRuns:
    """The platform's functions."""

    def runs_of_file(self, tenant_id: str, file_id: str) -> Runs:
        return {tenant_id: lambda: None, file_id: lambda: None}

    def retries_of_documents(self, *_: object) -> Runs:
        raise NotImplementedError


@pytest.mark.requirement(SECTION, f"{TOPIC}: handler and blueprint speak the same protocol")
async def test_with_the_real_blueprint(settings: Settings, tmp_path: Path) -> None:
    """A wrong key is a retry: it can be put right."""
    url, database = settings.redis_url.get_secret_value(), settings.database_url.get_secret_value()
    app = Flask("platform")
    with SyncRedis.from_url(url) as redis:
        init_app(app, cast("RedisClient", redis), key="key", pipelines=TwoRuns())
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            more = {"pipeline_url": f"http://127.0.0.1:{server.server_port}", "redis_url": url}
            async with open_site(database, tmp_path, pipeline_key="another", **more) as site:
                pipelines = Pipelines(site, HttpService(), Redis.from_url(url))
                event = pipelines.event(await pipelines.add_file())
                with pytest.raises(ServiceError, match="rejects the key"):
                    await site.run(run_pipeline, event)
            async with open_site(database, tmp_path, pipeline_key="key", **more) as site:
                assert await site.run(run_pipeline, event) == {"runs": 2}
            await pipelines.redis.aclose()
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
