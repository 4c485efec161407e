"""Datasets that nobody uses lose their index; enabling their documents brings it back."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from redis import Redis

from schemas import DocumentEnabled, UnusedDatasetsCleanupRequested
from streams.agents.knowledge.document_state import add_document_to_index
from streams.delivery import Permanent, Unavailable
from streams.dify.models import Dataset, DatasetAutoDisableLog, DatasetQuery, Document
from streams.dify.retention import unused_datasets
from streams.settings import Settings
from tests.integration.maintenance.retention_runs import Retention, days_ago
from tests.support.fakes.json_api import JsonApi, Reply
from tests.support.platform.app_rows import make_row
from tests.support.platform.reindexing import Place

SECTION = "Schedules"
OLD, YOUNG = 31, 29


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    with Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True) as opened:
        yield opened


async def _dataset(retention: Retention, days: float = OLD, **columns: object) -> tuple[Dataset, Document]:
    """Add a dataset of this age with a completed document of the same age, without an index."""
    site = retention.site
    dataset = await site.add_dataset(created_at=days_ago(days), **columns)
    document = await _document(retention, dataset, days)
    return dataset, document


async def _document(retention: Retention, dataset: Dataset, days: float, **columns: object) -> Document:
    known = {"indexing_status": "completed", "enabled": True, "archived": False, "is_paused": False}
    document = make_row(
        Document,
        id=str(uuid4()),
        tenant_id=dataset.tenant_id,
        dataset_id=dataset.id,
        updated_at=days_ago(days),
        **{**known, **columns},
    )
    assert isinstance(document, Document)
    await retention.site.add(document)
    return document


async def _enabled(retention: Retention, *documents: Document) -> list[bool]:
    return [(await retention.site.document(one.id)).enabled for one in documents]


@pytest.mark.requirement(SECTION, "clean-unused-datasets: an unused dataset loses its index, and its documents say so")
@pytest.mark.requirement(SECTION, "clean-unused-datasets: a document that is enabled again is found completely")
@pytest.mark.parametrize("kind", ["text", "children", "keywords"])
async def test_the_index_goes_and_comes_back(retention: Retention, redis: Redis, kind: str) -> None:
    """Today the way back loads nothing, and the platform's next insert fails, since its key says the table exists."""
    site, place = retention.site, Place(retention.site, redis)
    dataset, document = await place.indexed(kind)
    archived = await _document(retention, dataset, OLD, archived=True)
    await place.set_dataset(dataset, created_at=days_ago(OLD))
    await place.set_document(document, updated_at=days_ago(OLD))
    before, flag = await place.nodes(document), f"vector_indexing_{site.collection(dataset.id)}"
    assert before
    redis.set(flag, 1)

    removed = await retention.run(UnusedDatasetsCleanupRequested())

    kept_in = "keyword tables" if kind == "keywords" else "collections"
    assert removed == {"datasets": 1, "documents disabled": 1, kept_in: 1}
    assert await place.nodes(document) == set()
    assert redis.get(flag) is None
    assert await _enabled(retention, document, archived) == [False, True]
    assert await site.count(DatasetAutoDisableLog, document_id=document.id, notified=False) == 1
    assert await retention.run(UnusedDatasetsCleanupRequested()) == {}

    await place.set_document(document, enabled=True)
    await site.run(add_document_to_index, DocumentEnabled(tenant_id=site.tenant_id, document_id=document.id))
    assert await place.nodes(document) == await place.wanted(document) == before
    assert await site.count(DatasetAutoDisableLog) == 0


@pytest.mark.requirement(SECTION, "clean-unused-datasets: a dataset that is new, changed, asked or worked on stays")
async def test_used_datasets_stay(retention: Retention) -> None:
    """The definition is the platform's. Documents that are not searchable do not count as a use."""
    (unused, old), (asked, _), (changed, _), (indexing, _), (paused, _) = [await _dataset(retention) for _ in range(5)]
    young, _ = await _dataset(retention, YOUNG)
    empty = await retention.site.add_dataset(created_at=days_ago(OLD))
    external, _ = await _dataset(retention, provider="external")
    without_technique, _ = await _dataset(retention, indexing_technique=None)
    await _document(retention, changed, YOUNG)
    await _document(retention, indexing, OLD, indexing_status="indexing")
    await _document(retention, paused, OLD, indexing_status="parsing", is_paused=True)
    # What does not count as a use.
    failed = await _document(retention, unused, YOUNG, indexing_status="error")
    waiting = await _document(retention, unused, YOUNG, indexing_status="waiting")
    await _document(retention, unused, YOUNG, enabled=False)
    await _document(retention, unused, YOUNG, archived=True)
    await retention.site.add(
        make_row(DatasetQuery, dataset_id=asked.id, created_at=days_ago(YOUNG)),
        make_row(DatasetQuery, dataset_id=unused.id, created_at=days_ago(OLD)),
    )

    removed = await retention.run(UnusedDatasetsCleanupRequested())

    assert removed == {"datasets": 1, "documents disabled": 2}
    assert await _enabled(retention, old, failed, waiting) == [False, False, True]
    for dataset in (asked, changed, indexing, paused, young, empty, external, without_technique):
        assert await retention.site.count(DatasetAutoDisableLog, dataset_id=dataset.id) == 0
    assert await retention.site.count(DatasetAutoDisableLog) == 1


@pytest.mark.requirement(
    SECTION, "clean-unused-datasets: tenants with the plan sandbox have seven days, without a notice"
)
async def test_the_second_pass_is_for_sandbox_tenants(
    retention: Retention, plans: dict[str, str], billing: tuple[JsonApi, str]
) -> None:
    """A tenant that pays has thirty days. Without billing there is no second pass: today each tenant is in it."""
    paying = str(uuid4())
    plans |= {retention.site.tenant_id: "sandbox", paying: "team"}
    _, mine = await _dataset(retention, 8)
    _, recent = await _dataset(retention, 6)
    _, theirs = await _dataset(retention, 8, tenant_id=paying)
    _, old = await _dataset(retention, OLD, tenant_id=paying)

    assert await retention.run(UnusedDatasetsCleanupRequested()) == {"datasets": 1, "documents disabled": 1}
    assert await _enabled(retention, mine, recent, theirs, old) == [True, True, True, False]
    assert await retention.run(UnusedDatasetsCleanupRequested(plan="sandbox")) == {}

    with_billing = retention.with_billing(billing[1])
    assert await with_billing.run(UnusedDatasetsCleanupRequested()) == {"datasets": 1, "documents disabled": 1}
    assert [one["done"] for one in with_billing.results[-2:]] == [False, True]
    assert await _enabled(retention, mine, recent, theirs) == [False, True, True]
    assert await retention.site.count(DatasetAutoDisableLog, document_id=mine.id) == 0


@pytest.mark.requirement(SECTION, "clean-unused-datasets: an unavailable billing service disables nothing")
async def test_a_billing_outage_is_not_a_plan(retention: Retention, billing: tuple[JsonApi, str]) -> None:
    server, url = billing
    server.answer = lambda _asked, _before: Reply(503)
    _, document = await _dataset(retention, 8)
    with pytest.raises(Unavailable):
        await retention.with_billing(url).step(UnusedDatasetsCleanupRequested(plan="sandbox"))
    assert await _enabled(retention, document) == [True]


@pytest.mark.requirement(SECTION, "clean-unused-datasets: bounded steps, and killed or repeated ones do no harm")
@pytest.mark.parametrize("place", [0, 2])
async def test_bounded_steps_end(retention: Retention, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Today the page number goes on while rows leave the result, and datasets are skipped.

    The dataset that takes many steps is the first of all, or one between others.
    """
    monkeypatch.setattr(unused_datasets, "DATASETS_PER_PAGE", 2)
    monkeypatch.setattr(unused_datasets, "DOCUMENTS_PER_STATEMENT", 2)
    made = sorted([await _dataset(retention) for _ in range(5)], key=lambda one: one[0].id)
    large, first = made[place]
    documents = [document for _, document in made] + [await _document(retention, large, OLD) for _ in range(4)]
    hurried = replace(retention.hurried(), results=[])

    event = UnusedDatasetsCleanupRequested()
    (second,) = await hurried.step(event)
    await hurried.step(event)  # the first step again, as after a crash
    await hurried.run(second, steps=20)

    assert await _enabled(retention, *documents) == [False] * 9
    assert await retention.site.count(DatasetAutoDisableLog) == 9
    assert await retention.site.count(DatasetAutoDisableLog, document_id=first.id) == 1
    with pytest.raises(Permanent, match="cursor"):
        await retention.step(UnusedDatasetsCleanupRequested(cursor="2"))


@pytest.mark.requirement(SECTION, "clean-unused-datasets: a dataset whose index is being written is not waited for")
async def test_a_locked_dataset_stays(retention: Retention) -> None:
    """A step of an indexing holds the row while it writes vectors."""
    dataset, document = await _dataset(retention)
    async with retention.site.transaction() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("select 1 from datasets where id = %s for key share", (dataset.id,))
        assert await retention.run(UnusedDatasetsCleanupRequested()) == {}
    assert await _enabled(retention, document) == [True]
    assert await retention.run(UnusedDatasetsCleanupRequested()) == {"datasets": 1, "documents disabled": 1}
