"""A dataset that got another technique or model has exactly the index that its row asks for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import DatasetIndexChanged
from streams.agents.knowledge.dataset_index import rebuild_dataset_index
from streams.agents.knowledge.document_indexing import index_document
from streams.delivery import Permanent
from streams.delivery.handler import JSON
from streams.dify.embedding.local import MODEL, PROVIDER
from streams.dify.embedding.port import Answer, Compute, VectorSpace, normalized
from streams.dify.errors import IndexChangedError, VectorStoreError
from streams.dify.indexing import load
from streams.dify.models import Dataset, Document, DocumentSegment
from streams.dify.reindexing import dataset as steps
from streams.dify.vector_stores.pgvector import PgVectorIndex, table_name
from streams.settings import Settings
from tests.support.platform.app_rows import wait_for_lock_or_end
from tests.support.platform.handler_runs import prose
from tests.support.platform.reindexing import Place, cases, open_place

SECTION = "The whole domain"
Action = Literal["add", "update", "remove", "upgrade"]
DIMENSIONS = 8
HIGH: dict[str, Any] = {
    "indexing_technique": "high_quality",
    "embedding_model": MODEL,
    "embedding_model_provider": PROVIDER,
}
SMALL: dict[str, Any] = {
    "indexing_technique": "high_quality",
    "embedding_model": "small",
    "embedding_model_provider": "another",
}
ECONOMY: dict[str, Any] = {"indexing_technique": "economy", "embedding_model": None, "embedding_model_provider": None}


class SmallEmbedder:
    """Another model, with other dimensions."""

    provider = "another"
    model = "small"
    batch_size = 1

    async def space(self, compute: Compute) -> VectorSpace:  # noqa: ARG002 - of the protocol
        return VectorSpace(self.provider, self.model, DIMENSIONS)

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:  # noqa: ARG002 - of the protocol
        return [
            normalized([one + 1.0 for one in sha256(text.encode()).digest()[:DIMENSIONS]], DIMENSIONS) for text in texts
        ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the slow tests once; `tests/crash/races/test_reindexing_races.py` has the other cases."""
    cases(metafunc, another=["model"])


@pytest.fixture
async def place(settings: Settings, tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(settings, tmp_path / "files") as opened:
        known = opened.site.platform
        another = SmallEmbedder()
        embedders = {**known.embedders, (another.provider, another.model): another}
        yield replace(opened, site=replace(opened.site, platform=replace(known, embedders=embedders)))


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps from a short document, and from two documents."""
    monkeypatch.setattr(load, "GROUP_SIZE", 2)
    monkeypatch.setattr(steps, "DOCUMENTS_PER_STEP", 1)


def _event(dataset: Dataset, action: Action) -> DatasetIndexChanged:
    return DatasetIndexChanged(tenant_id=dataset.tenant_id, dataset_id=dataset.id, action=action)


async def _changed(place: Place, dataset: Dataset, action: Action) -> list[JSON]:
    """Run the event and all steps that follow from it. Returns their results."""
    first = await place.site.run(rebuild_dataset_index, _event(dataset, action))
    return [first, *[await place.site.run(rebuild_dataset_index, one) for one in await place.site.published()]]


async def _dimensions(place: Place, dataset: Dataset) -> int | None:
    """Return the dimensions of the dataset's table; None: there is no table."""
    async with place.site.transaction() as session:
        name = table_name(place.site.collection(dataset.id))
        query = text("select atttypmod from pg_attribute where attrelid = to_regclass(:name) and attname = 'embedding'")
        found: int | None = await session.scalar(query, {"name": name})
        return found


@pytest.mark.requirement(SECTION, "dataset.index-changed: add, update and remove leave exactly the index of the row")
@pytest.mark.parametrize("kind", ["text", "children"])
async def test_there_and_back(place: Place, kind: str) -> None:
    """Vectors of another model in a new table, then keywords, then vectors again; with child chunks."""
    dataset, one = await place.indexed(kind)
    disabled = await place.another(dataset, kind)
    await place.set_document(disabled, enabled=False)
    key = f"vector_indexing_{place.site.collection(dataset.id)}"
    first = await _dimensions(place, dataset)
    ways: tuple[tuple[Action, dict[str, Any], int | None], ...] = (
        ("update", SMALL, DIMENSIONS),
        ("remove", ECONOMY, None),
        ("add", HIGH, first),
    )
    for action, columns, dimensions in ways:
        await place.set_dataset(dataset, **columns)
        place.redis.set(key, "1")
        assert (await _changed(place, dataset, action))[0] == {"requested": 1}
        assert place.redis.get(key) is None
        assert await _dimensions(place, dataset) == dimensions
        assert await place.nodes(one) == await place.wanted(one) != set()
        assert (await place.site.document(one.id)).indexing_status == "completed"
        assert await place.nodes(disabled) == set()


@pytest.mark.requirement(SECTION, "dataset.index-changed: one step per document; a repeated event changes nothing")
async def test_several_documents_and_a_repetition(place: Place) -> None:
    """Each document has its own event, which names the dataset's tenant. `upgrade` of a pipeline does the same."""
    dataset, one = await place.indexed()
    two = await place.another(dataset)
    await place.set_dataset(dataset, runtime_mode="rag_pipeline", **SMALL)
    for _ in range(2):
        event = DatasetIndexChanged(dataset_id=dataset.id, action="upgrade")
        assert await place.site.run(rebuild_dataset_index, event) == {"requested": 2}
        published = [one for one in await place.site.published() if isinstance(one, DatasetIndexChanged)]
        assert {each.document_id for each in published} == {one.id, two.id}
        assert {each.tenant_id for each in published} == {place.site.tenant_id}
        for each in published:
            assert await place.site.run(rebuild_dataset_index, each) == {"segments": 3}
        for document in (one, two):
            assert await place.nodes(document) == await place.wanted(document) != set()


@pytest.mark.requirement(SECTION, "dataset.index-changed: a crash leaves no document in the status indexing")
async def test_a_crash_at_any_step(place: Place) -> None:
    """Neither the documents' rows nor their segments change. The repetition builds the index."""
    dataset, document = await place.indexed()
    step, died = 0, True
    while died:
        step += 1
        columns = SMALL if step % 2 else HIGH
        await place.set_dataset(dataset, **columns)
        event = _event(dataset, "update")
        died = await place.site.crashes(rebuild_dataset_index, event, step)
        assert (await place.site.document(document.id)).indexing_status == "completed"
        await place.site.run(rebuild_dataset_index, event)
        published = await place.site.published()
        died_too = await place.site.crashes(rebuild_dataset_index, published[-1], step)
        assert (await place.site.document(document.id)).indexing_status == "completed"
        for one in published:
            await place.site.run(rebuild_dataset_index, one)
        died = died or died_too
        assert await place.nodes(document) == await place.wanted(document)
    assert step > 3


@pytest.mark.requirement(
    SECTION, "dataset.index-changed: a change during the work wins; no vector of a former model stays"
)
async def test_the_model_changes_during_an_indexing(place: Place, another: str) -> None:
    """At each step of an indexing, the index is dropped for the new model.

    The indexing writes nothing more of the old one. Its next attempt and the event's steps complete the index.
    """
    columns = {"model": SMALL, "technique": ECONOMY}[another]
    step = 0
    while True:
        step += 1
        dataset = await place.site.add_dataset(**HIGH)
        document = await place.site.add_document(dataset, prose(3))
        happened = False

        async def change(done: int, at: int = step, of: Dataset = dataset) -> None:
            nonlocal happened
            if done == at:
                happened = True
                await place.set_dataset(of, **columns)
                await place.site.run(rebuild_dataset_index, _event(of, "update"))

        try:
            await place.site.run(index_document, place.site.request(document), after_step=change)
        except IndexChangedError:
            await place.site.run(index_document, place.site.request(document))
        for published in await place.site.published():
            await place.site.run(rebuild_dataset_index, published)
        if not happened:
            break
        assert (await place.site.document(document.id)).indexing_status == "completed"
        assert await place.nodes(document) == await place.wanted(document) != set()
        expected = DIMENSIONS if columns is SMALL else None
        assert await _dimensions(place, dataset) == expected
    assert step > 4


@pytest.mark.requirement(
    SECTION, "dataset.index-changed: a change during the work wins; no vector of a former model stays"
)
async def test_the_model_changes_within_a_step(place: Place) -> None:
    """A step has checked the model, and has not written yet. The drop waits for its commit, and takes its vectors."""
    dataset = await place.site.add_dataset(**HIGH)
    document = await place.site.add_document(dataset, prose(3))
    dropping: list[asyncio.Task[JSON]] = []

    class Slow(PgVectorIndex):
        async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
            if not dropping:
                await place.set_dataset(dataset, **SMALL)
                dropping.append(asyncio.create_task(place.site.run(rebuild_dataset_index, _event(dataset, "update"))))
                await wait_for_lock_or_end(place.site, dropping[0])
            await super().create(session, collection, dimensions)

    slow = replace(place.site, platform=replace(place.site.platform, vectors=Slow()))
    with pytest.raises(IndexChangedError):
        await slow.run(index_document, place.site.request(document))
    await dropping[0]
    assert await _dimensions(place, dataset) is None
    await place.site.run(index_document, place.site.request(document))
    for published in await place.site.published():
        await place.site.run(rebuild_dataset_index, published)
    assert await _dimensions(place, dataset) == DIMENSIONS
    assert await place.nodes(document) == await place.wanted(document) != set()


@pytest.mark.requirement(SECTION, "dataset.index-changed: two changes whose events are swapped end as the row says")
async def test_swapped_events(place: Place) -> None:
    """The steps of the first event run after the second one. The row decides."""
    dataset, document = await place.indexed()
    await place.set_dataset(dataset, **ECONOMY)
    await place.site.run(rebuild_dataset_index, _event(dataset, "remove"))
    late = await place.site.published()
    await place.set_dataset(dataset, **SMALL)
    await _changed(place, dataset, "add")
    for one in (*late, _event(dataset, "remove")):
        await place.site.run(rebuild_dataset_index, one)
    for one in await place.site.published():
        await place.site.run(rebuild_dataset_index, one)
    assert await _dimensions(place, dataset) == DIMENSIONS
    assert await place.nodes(document) == await place.wanted(document)


class _Broken(PgVectorIndex):
    async def upsert(self, *_: object) -> None:
        raise VectorStoreError("no room")


@pytest.mark.requirement(
    SECTION, "dataset.index-changed: a document that cannot be loaded says why, the others are found"
)
async def test_failures(place: Place) -> None:
    """A later change repairs its status. A model that is not configured drops nothing."""
    dataset, document = await place.indexed()
    await place.set_dataset(dataset, **SMALL)
    await place.site.run(rebuild_dataset_index, _event(dataset, "update"))
    (step,) = await place.site.published()
    broken = replace(place.site, platform=replace(place.site.platform, vectors=_Broken()))
    with pytest.raises(VectorStoreError) as found:
        await broken.run(rebuild_dataset_index, step)
    await broken.die(rebuild_dataset_index, step, found.value)
    row = await place.site.document(document.id)
    assert (row.indexing_status, row.error, row.enabled) == ("error", "no room", True)
    await _changed(place, dataset, "update")
    row = await place.site.document(document.id)
    assert (row.indexing_status, row.error) == ("completed", None)
    nodes = await place.nodes(document)
    assert nodes == await place.wanted(document)

    await place.set_dataset(dataset, **{**SMALL, "embedding_model": "nobody's"})
    event = _event(dataset, "update")
    with pytest.raises(Permanent, match="is not configured") as refused:
        await place.site.run(rebuild_dataset_index, event)
    assert await place.nodes(document) == nodes
    await place.site.die(rebuild_dataset_index, event, refused.value)
    assert "is not configured" in str((await place.site.document(document.id)).error)


@pytest.mark.requirement(SECTION, "dataset.index-changed: a deletion at any step wins")
async def test_a_deletion_at_each_step(place: Place) -> None:
    """After the deletion of the document or the dataset, no vector is written."""
    for step in range(1, 5):
        dataset, document = await place.indexed()
        await place.set_dataset(dataset, **SMALL)
        await place.site.run(rebuild_dataset_index, _event(dataset, "update"))
        (published,) = await place.site.published()
        left: list[int] = []

        async def delete(done: int, at: int = step, of: Document = document) -> None:
            if done == at:
                if at % 2:
                    await place.site.delete(Document, id=of.id)
                else:
                    await place.site.delete(Dataset, id=of.dataset_id)
                left.append(len(await place.nodes(of)))  # noqa: B023 - it runs within this iteration

        await place.site.run(rebuild_dataset_index, published, after_step=delete)
        if left:
            assert [len(await place.nodes(document))] == left
    gone = DatasetIndexChanged(tenant_id=place.site.tenant_id, dataset_id=str(uuid4()), action="update")
    assert await place.site.run(rebuild_dataset_index, gone) == {"skipped": "the dataset is gone"}
    external = await place.site.add_dataset(indexing_technique=None, provider="external")
    assert await place.site.run(rebuild_dataset_index, _event(external, "add")) == {
        "skipped": "the dataset has no index"
    }


async def test_a_segment_that_a_person_disabled_stays_out(place: Place) -> None:
    """Only enabled segments are loaded, by vectors and by keywords."""
    dataset, document = await place.indexed()
    first, *_ = await place.site.segments(document.id)
    await place.disable_segment(first, str(uuid4()))
    for columns in (SMALL, ECONOMY):
        await place.set_dataset(dataset, **columns)
        await _changed(place, dataset, "update")
        assert await place.nodes(document) == await place.wanted(document)
        assert first.index_node_id not in await place.nodes(document)
    assert await place.site.count(DocumentSegment, document_id=document.id, enabled=False) == 1
