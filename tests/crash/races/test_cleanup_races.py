"""Concurrent clean-ups: of a document and its dataset, of a batch and a single document, of the same thing twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from schemas import DatasetDeleted, DocumentDeleted, DocumentsDeleted, Event
from streams.dify.cleanup import delete as delete_module
from streams.dify.models import Dataset, Document
from streams.dify.uploads import files
from tests.support.platform.cleanup_steps import (
    CLEANERS,
    add_full,
    add_to_dataset,
    asked_for,
    left,
    settle,
    source_file,
    stored,
)
from tests.support.platform.handler_runs import Site, open_site


@pytest.fixture
async def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Small steps, so that each clean-up needs several."""
    monkeypatch.setattr(delete_module, "ROWS_PER_STEP", 4)
    monkeypatch.setattr(delete_module, "DOCUMENTS_PER_STEP", 2)
    monkeypatch.setattr(files, "FILES_PER_STEP", 2)
    async with open_site(database_url, tmp_path) as opened:
        yield opened


async def _run_all(site: Site, *events: Event) -> None:
    """Run the events concurrently, then concurrently all events that they publish, and so on. No run may fail."""
    waiting = list(events)
    async with asyncio.timeout(60):
        while waiting:
            async with asyncio.TaskGroup() as group:
                for each in waiting:
                    group.create_task(site.run(CLEANERS[type(each)], each))
            waiting = await asked_for(site)


async def _scene(site: Site, technique: str) -> tuple[Dataset, list[Document], Callable[[], Awaitable[None]]]:
    """Return a dataset with four documents, and a check that a neighbour keeps everything."""
    neighbour = await site.add_dataset(indexing_technique=technique)
    await add_full(site, neighbour, paragraphs=4)
    kept, kept_files = await left(site, dataset_id=neighbour.id), stored(site)
    dataset = await site.add_dataset(indexing_technique=technique)
    documents = [await add_full(site, dataset, paragraphs=5) for _ in range(4)]
    await add_to_dataset(site, dataset)

    async def check() -> None:
        assert await left(site, dataset_id=neighbour.id) == kept
        assert stored(site) == kept_files

    return dataset, documents, check


async def _delete(site: Site, *documents: Document) -> None:
    for document in documents:
        await site.delete(Document, id=document.id)


def _deleted(site: Site, document: Document) -> DocumentDeleted:
    return site.document_deleted(document, source_file(document))


def _all_deleted(site: Site, dataset: Dataset, documents: list[Document]) -> DocumentsDeleted:
    return DocumentsDeleted(
        tenant_id=site.tenant_id,
        dataset_id=dataset.id,
        document_ids=[document.id for document in documents],
        file_ids=[source_file(document) for document in documents],
        doc_form="text_model",
    )


@pytest.mark.requirement("Clean-up", "clean-ups that meet each other")
@pytest.mark.parametrize("technique", ["high_quality", "economy"])
async def test_documents_and_their_dataset_at_once(site: Site, technique: str) -> None:
    """Four documents and their dataset: nothing is left, no clean-up fails, a neighbour keeps everything."""
    dataset, documents, check = await _scene(site, technique)
    await _delete(site, *documents)
    await site.delete(Dataset, id=dataset.id)
    await _run_all(site, *(_deleted(site, document) for document in documents), site.dataset_deleted(dataset))
    assert await left(site, dataset_id=dataset.id) == {}
    await check()


@pytest.mark.requirement("Clean-up", "clean-ups that meet each other")
@pytest.mark.parametrize("technique", ["high_quality", "economy"])
async def test_a_batch_and_single_ones_of_the_same_documents(site: Site, technique: str) -> None:
    """Concurrently, and the batch twice: everything is deleted once, and no clean-up fails."""
    dataset, documents, check = await _scene(site, technique)
    await _delete(site, *documents)
    batch = _all_deleted(site, dataset, documents)
    await _run_all(site, batch, *(_deleted(site, document) for document in documents), batch)
    assert set(await left(site, dataset_id=dataset.id)) <= {
        "app_dataset_joins",
        "dataset_keyword_tables",
        "dataset_metadatas",
        "dataset_process_rules",
        "dataset_queries",
    }
    await check()


@pytest.mark.requirement("Clean-up", "clean-ups that meet each other")
@pytest.mark.parametrize("kind", ["document", "dataset"])
async def test_the_same_clean_up_twice_at_once(site: Site, kind: str) -> None:
    """Two workers process the same delivery. One finds fewer rows, and neither fails."""
    dataset, documents, check = await _scene(site, "high_quality")
    first: DocumentDeleted | DatasetDeleted = _deleted(site, documents[0])
    if kind == "document":
        await _delete(site, documents[0])
    else:
        await site.delete(Dataset, id=dataset.id)
        first = site.dataset_deleted(dataset)
    await _run_all(site, first, first)
    ids = {"dataset_id": dataset.id, "document_id": documents[0].id}
    assert await left(site, **ids) == {}
    if kind == "dataset":
        assert await left(site, dataset_id=dataset.id) == {}
        await check()


@pytest.mark.requirement("Clean-up", "clean-ups that meet each other")
async def test_a_dataset_deleted_between_the_steps_of_its_document(site: Site) -> None:
    """The dataset's whole clean-up runs after the first, second, … step of the document's. Nothing is left."""
    after, more = 0, True
    while more:
        after += 1
        dataset, documents, check = await _scene(site, "high_quality")
        await _delete(site, documents[0])
        waiting: list[Event] = [_deleted(site, documents[0])]
        for _ in range(after):
            await site.run(CLEANERS[DocumentDeleted], waiting.pop())
            waiting = await asked_for(site)
        more = bool(waiting)
        await site.delete(Dataset, id=dataset.id)
        await settle(site, site.dataset_deleted(dataset), *waiting)
        assert await left(site, dataset_id=dataset.id) == {}
        await check()
    assert after > 2
