"""The platform's own receivers and worker run at the same time as the pipeline, on the same rows.

Expected: one result, as if only one of them had worked. Nothing fails, and nothing is a dead letter. Also while the
pipeline works alone, and after going back to the platform.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import blinker
import pytest
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from streams.dify.models import App, AppDatasetJoin, AppModelConfig, Dataset, Document
from streams.publishing import connect_signals
from streams.settings import Settings
from tests.support.celery_calls.platform_worker import QUEUE, OwnWay
from tests.support.platform.app_rows import make_row
from tests.support.platform.cleanup_steps import add_full, left, source_file, stored
from tests.support.platform.handler_runs import Site, open_site
from tests.support.processes.worker_process import WorkerProcess, rows, scalar, wait_for

SECTION = "The whole domain"
APPS, DOCUMENTS = 5, 4
MakeWorker = Callable[..., WorkerProcess]


@pytest.fixture
async def site(topics: Settings) -> AsyncIterator[Site]:
    folder = Path(topics.storage_url.removeprefix("file:"))
    async with open_site(topics.database_url.get_secret_value(), folder, redis_url=topics.redis_url) as opened:
        yield opened


@pytest.fixture
def own_way(engine: Engine, site: Site, topics: Settings) -> Iterator[OwnWay]:
    with Redis.from_url(topics.redis_url.get_secret_value(), decode_responses=True) as redis:
        redis.delete(QUEUE)
        yield OwnWay(engine, redis, site.platform.collection_prefix)
        redis.delete(QUEUE)


@dataclass(frozen=True)
class Console:
    """The platform's API: it changes rows and sends signals, each request in a thread of its own."""

    site: Site
    current: scoped_session[Session]

    def create_app(self, dataset: Dataset) -> str:
        """Create an app, then give it a configuration with a dataset, as two requests do."""
        account = SimpleNamespace(id=str(uuid4()), interface_language="en-US")
        app = make_row(App, id=str(uuid4()), tenant_id=self.site.tenant_id, name="an app", mode="chat", status="normal")
        assert isinstance(app, App)
        session = self.current()
        session.add(app)
        session.commit()
        blinker.signal("app-was-created").send(app, account=account)
        agent = {"tools": [{"dataset": {"enabled": True, "id": dataset.id}}]}
        config = make_row(AppModelConfig, id=str(uuid4()), app_id=app.id, agent_mode=json.dumps(agent))
        assert isinstance(config, AppModelConfig)
        app.app_model_config_id = config.id
        session.add(config)
        session.commit()
        blinker.signal("app-model-config-was-updated").send(app, app_model_config=config)
        app_id = app.id
        self.current.remove()
        return app_id

    def delete_document(self, document_id: str) -> None:
        """Delete a document. The signal comes before the commit."""
        session = self.current()
        document = session.get_one(Document, document_id)
        blinker.signal("document-was-deleted").send(
            document.id, dataset_id=document.dataset_id, doc_form=document.doc_form, file_id=source_file(document)
        )
        session.delete(document)
        session.commit()
        self.current.remove()


async def _many(function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    return list(await asyncio.gather(*(asyncio.to_thread(function, one) for one in arguments)))


def _check_apps(engine: Engine, app_ids: list[str], dataset: Dataset) -> None:
    """Each app has one site, one installation and one join."""
    for table in ("sites", "installed_apps", "app_dataset_joins"):
        counted = rows(engine, f"select app_id::text as app, count(*) as n from {table} group by 1")
        assert {row["app"]: row["n"] for row in counted if row["app"] in app_ids} == dict.fromkeys(app_ids, 1), table
    joined = rows(engine, f"select distinct dataset_id::text as id from {AppDatasetJoin.__tablename__}")
    assert [row["id"] for row in joined] == [dataset.id]


@pytest.mark.requirement(SECTION, "the switch: both running side by side on the same rows show one result; going back")
@pytest.mark.timeout(900)
async def test_both_at_the_same_time(site: Site, own_way: OwnWay, engine: Engine, worker: MakeWorker) -> None:
    dataset = await site.add_dataset()
    documents = [await add_full(site, dataset) for _ in range(DOCUMENTS)]
    other = await add_full(site, dataset)
    kept = await left(site, dataset_id=dataset.id, document_id=other.id)
    files = {key for key in stored(site) if (source_file(other) or "-") in key}
    await site.published()
    console = Console(site, scoped_session(sessionmaker(engine, expire_on_commit=False)))
    one = worker().start(ready=False)
    wait_for(lambda: one.page("/health/ready")[0] == 200, "the worker", 300)

    def handled(name: str, results: str = "true") -> int:
        query = f"select count(*) from streams.executions where handler = :name and status = 'success' and {results}"
        return int(str(scalar(engine, query, name=name)))

    with ExitStack() as both:
        both.enter_context(own_way.receiving())
        bridge = connect_signals(console.current, codec=site.codec)
        both.callback(bridge.disconnect)
        with own_way.working():
            deleting = asyncio.create_task(_many(console.delete_document, [document.id for document in documents]))
            created: list[str] = await _many(console.create_app, [dataset] * APPS)
            await deleting
            for name in ("create-installed-app", "create-site-record", "join-config-datasets"):
                wait_for(lambda name=name: handled(name) == APPS, name, 240)  # type: ignore[misc]  # bound by default
            wait_for(lambda: handled("clean-document") >= DOCUMENTS, "the clean-up", 240)
            wait_for(lambda: own_way.redis.llen(QUEUE) == 0, "the platform's queue", 240)

    _check_apps(engine, created, dataset)
    found_done = "(result->>'created' = 'false')"
    assert handled("create-site-record", found_done) == handled("create-installed-app", found_done) == APPS
    assert sorted(own_way.cleaned) == sorted(document.id for document in documents)
    for document in documents:
        assert await left(site, dataset_id=dataset.id, document_id=document.id) == {}
    assert await left(site, dataset_id=dataset.id, document_id=other.id) == kept
    assert files <= set(stored(site))

    # The receivers are taken off: the pipeline does the same work alone.
    bridge = connect_signals(console.current, codec=site.codec)
    try:
        alone = await _many(console.create_app, [dataset] * APPS)
    finally:
        bridge.disconnect()
    wait_for(lambda: handled("join-config-datasets") == 2 * APPS, "the joins", 240)
    wait_for(lambda: handled("create-site-record", "(result->>'created' = 'true')") == APPS, "the sites", 240)
    wait_for(lambda: handled("create-installed-app") == 2 * APPS, "the installations", 240)
    _check_apps(engine, alone, dataset)

    # Going back: the bridge is off, and the receivers are on again.
    before = scalar(engine, "select count(*) from streams.executions")
    with own_way.receiving():
        back = await _many(console.create_app, [dataset] * APPS)
    _check_apps(engine, [*created, *alone, *back], dataset)
    assert scalar(engine, "select count(*) from streams.outbox where due_at is null") == 0
    assert scalar(engine, "select count(*) from streams.executions") == before
    assert rows(engine, "select 1 from streams.dead_letters") == []
    assert one.stop() == 0
