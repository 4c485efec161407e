"""Stuck documents are requested again, and no others."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, insert, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import DocumentIndexCreated, DocumentIndexRequested
from schemas.event import event_time, new_event_id
from streams.database.tables import executions, installation
from streams.dify.models import Dataset
from streams.observability.metrics import Lag
from streams.operations import stuck_documents
from streams.operations.lag import LagReading
from streams.operations.stuck_documents import StuckDocuments
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.platform.handler_runs import Site, open_site, prose
from tests.support.processes.worker_process import WorkerProcess, rows, wait_for

MakeWorker = Callable[..., WorkerProcess]
LONG_AGO = datetime.now(tz=UTC).replace(tzinfo=None) - timedelta(hours=1)


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "storage") as opened:
        await installed(opened, timedelta(days=1))
        yield opened


async def installed(site: Site, ago: timedelta) -> None:
    """Set the time at which the pipeline was installed."""
    async with site.transaction() as session:
        await session.execute(update(installation).values(installed_at=datetime.now(tz=UTC) - ago))


async def stuck_document(site: Site, dataset: Dataset, **columns: object) -> str:
    """Add a document that was changed an hour ago."""
    times = {"created_at": LONG_AGO, "updated_at": LONG_AGO}
    document = await site.add_document(dataset, prose(2), **{**times, **columns})  # type: ignore[arg-type]  # columns
    return document.id


def finder(site: Site, settings: Settings, lags: list[Lag]) -> StuckDocuments:
    return StuckDocuments(
        site.database.bookkeeping,
        settings,
        load_catalogue(settings),
        site.codec,
        read_lag=lambda: LagReading(list(lags)),
    )


async def asked_for(site: Site) -> list[str]:
    """Return the keys of the outbox."""
    async with site.transaction() as session:
        found = await session.execute(text("select convert_from(key, 'UTF8') from streams.outbox order by id"))
        return list(found.scalars())


def add_execution(
    engine: Engine, topic: str = "document.index-requested", status: str = "retry", **args: object
) -> None:
    event_id = new_event_id()
    made_at = event_time(event_id)
    assert made_at is not None
    with engine.begin() as connection:
        connection.execute(
            insert(executions).values(
                day=made_at.date(),
                event_id=event_id,
                handler="index-document",
                task_id=uuid4(),
                topic=topic,
                partition=0,
                offset=1,
                pool="default",
                status=status,
                created_at=made_at,
                args=args,
            )
        )


@pytest.mark.requirement("Faults and operations", "stranded documents are asked for again, without flooding")
async def test_only_what_nothing_could_go_on_with(site: Site, settings: Settings, engine: Engine) -> None:
    """Of documents in every state, and with every kind of pending work, two are requested again, once."""
    dataset = await site.add_dataset()
    lost = [
        await stuck_document(site, dataset),
        await stuck_document(site, dataset, indexing_status="indexing", processing_started_at=LONG_AGO),
    ]
    await stuck_document(site, dataset, indexing_status="completed")
    await stuck_document(site, dataset, indexing_status="error")
    await stuck_document(site, dataset, is_paused=True)
    await stuck_document(site, dataset, updated_at=datetime.now(tz=UTC).replace(tzinfo=None))
    retried, of_a_batch = await stuck_document(site, dataset), await stuck_document(site, dataset)
    add_execution(engine, document_id=retried)
    add_execution(engine, document_ids=[of_a_batch])
    other = await site.add_dataset()
    in_outbox = await stuck_document(site, other)
    async with AsyncSession(site.database.effects) as session, session.begin():
        Outbox(session, site.codec).publish(DocumentIndexCreated(dataset_id=other.id, document_ids=[in_outbox]))

    found = finder(site, settings, [])
    assert await found.check() == 0
    assert await found.check() == 2
    assert sorted(await asked_for(site)) == sorted([*lost, other.id])
    assert [await found.check() for _ in range(3)] == [0, 0, 0]
    await found.close()


@pytest.mark.requirement("Faults and operations", "stranded documents are asked for again, without flooding")
async def test_what_was_unread_when_it_was_seen_may_name_it(site: Site, settings: Settings) -> None:
    """While a record of that time is unsettled, nothing is requested. Later records do not matter."""
    dataset = await site.add_dataset()
    document_id = await stuck_document(site, dataset)
    catalogue = load_catalogue(settings)
    topic, group = catalogue.of(DocumentIndexRequested).name, catalogue.group("default")
    lags = [Lag(group, topic, 0, current_offset=3, end_offset=10, lag=7)]
    found = finder(site, settings, lags)
    assert [await found.check() for _ in range(3)] == [0, 0, 0]
    lags[0] = Lag(group, topic, 0, current_offset=10, end_offset=30, lag=20)
    assert await found.check() == 1
    assert await asked_for(site) == [document_id]
    await found.close()


@pytest.mark.requirement("Faults and operations", "stranded documents are asked for again, without flooding")
async def test_a_backlog_is_not_flooded(site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a few per run, and none while many records are unread."""
    monkeypatch.setattr(stuck_documents, "BATCH", 5)
    dataset = await site.add_dataset()
    for _ in range(8):
        await stuck_document(site, dataset)
    catalogue = load_catalogue(settings)
    topic, group = catalogue.of(DocumentIndexRequested).name, catalogue.group("default")
    lags: list[Lag] = []
    found = finder(site, settings, lags)
    assert [await found.check() for _ in range(2)] == [0, 5]
    lags.append(Lag(group, topic, 0, current_offset=10, end_offset=15, lag=5))
    assert [await found.check() for _ in range(2)] == [0, 0]
    lags.clear()
    assert await found.check() == 3
    await found.close()


@pytest.mark.requirement("Faults of others", "S3: documents of the platform's own queues are left to it")
@pytest.mark.requirement("The whole domain", "The sweep for stuck documents leaves alone what is not ours")
async def test_the_platform_s_own_work_is_left_to_it(site: Site, settings: Settings, engine: Engine) -> None:
    """Documents of pipelines, of sources that are not read here, and of the time before the pipeline was installed.

    Celery may start an older document at any time, as long as its queue is not drained. If the document's request was
    seen here, this pipeline has started it.
    """
    dataset, pipeline = await site.add_dataset(), await site.add_dataset(runtime_mode="rag_pipeline")
    now = datetime.now(tz=UTC).replace(tzinfo=None)
    await stuck_document(site, pipeline)
    await stuck_document(site, dataset, data_source_type="local_file")
    await stuck_document(site, dataset, data_source_type="online_document")
    before = now - timedelta(days=2)
    await stuck_document(site, dataset, created_at=before)
    await stuck_document(site, dataset, created_at=before, indexing_status="indexing", processing_started_at=before)
    await stuck_document(site, dataset, created_at=before, processing_started_at=LONG_AGO)
    deleted = await stuck_document(site, dataset, created_at=before, processing_started_at=LONG_AGO)
    add_execution(engine, "document.deleted", "success", document_id=deleted)
    ours = await stuck_document(site, dataset, created_at=before, processing_started_at=LONG_AGO)
    add_execution(engine, f"{settings.topic_prefix}document.index-requested", "success", document_id=ours)
    found = finder(site, settings, [])
    assert [await found.check() for _ in range(3)] == [0, 1, 0]
    assert await asked_for(site) == [ours]
    await found.close()


@pytest.mark.requirement("Faults of others", "S3: documents of the platform's own queues are left to it")
async def test_a_setting_says_since_when(site: Site, settings: Settings) -> None:
    """It replaces the time of the installation, in both directions."""
    document_id = await stuck_document(site, await site.add_dataset())
    later = settings.model_copy(update={"stranded_since": datetime.now(tz=UTC) + timedelta(days=1)})
    found = finder(site, later, [])
    assert [await found.check() for _ in range(3)] == [0, 0, 0]
    await found.close()
    await installed(site, timedelta(0))
    earlier = settings.model_copy(update={"stranded_since": datetime.now(tz=UTC) - timedelta(days=1)})
    found = finder(site, earlier, [])
    assert [await found.check() for _ in range(2)] == [0, 1]
    assert await asked_for(site) == [document_id]
    await found.close()


async def test_one_of_several_workers_looks(site: Site, settings: Settings) -> None:
    """A second worker starts when the first one has ended."""
    await stuck_document(site, await site.add_dataset())
    first, second = finder(site, settings, []), finder(site, settings, [])
    assert await first.check() == 0
    assert [await second.check() for _ in range(3)] == [0, 0, 0]
    await first.close()
    assert [await second.check() for _ in range(2)] == [0, 1]
    await second.close()


@pytest.mark.requirement("Faults of others", "R14: the search for stuck documents outlives a worker that was killed")
async def test_a_killed_worker_is_followed_by_another_one(site: Site, settings: Settings) -> None:
    """Its lease expires. If it comes back, it has lost what it observed."""
    await stuck_document(site, await site.add_dataset())
    killed, second = finder(site, settings, []), finder(site, settings, [])
    assert await killed.check() == 0
    async with site.transaction() as session:
        await session.execute(text("update streams.leases set until = now() - interval '1 second'"))
    assert await second.check() == 0
    assert await killed.check() == 0
    assert await second.check() == 1
    await second.close()


@pytest.mark.requirement("Faults and operations", "stranded documents are asked for again, without flooding")
async def test_a_worker_puts_it_right(site: Site, topics: Settings, engine: Engine, worker: MakeWorker) -> None:
    """With real topics: a document that the platform's queue lost is completed."""
    assert topics.application
    await stuck_document(site, await site.add_dataset())
    worker(STREAMS_STRANDED_AFTER="3s").start()
    wait_for(lambda: rows(engine, "select 1 from documents where indexing_status = 'completed'"), "the document")
