"""Many documents in one event: clean up after them, delete them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from schemas import DocumentDeleted, DocumentsDeleted, DocumentsRemovalRequested
from streams.agents.knowledge import document_cleanup as handlers
from streams.agents.knowledge.document_cleanup import clean_documents, remove_documents
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.dify.models import Dataset, Document, UploadFile
from tests.support.platform.cleanup_steps import add_full, crash_at_each_statement, left, settle, source_file, stored
from tests.support.platform.handler_runs import Site, open_site


@pytest.fixture
async def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Steps with few documents and files."""
    monkeypatch.setattr(handlers, "DOCUMENTS_PER_STEP", 2)
    monkeypatch.setattr(handlers, "FILES_PER_STEP", 1)
    async with open_site(database_url, tmp_path) as opened:
        yield opened


def _deleted(site: Site, dataset: Dataset, documents: list[Document], *file_ids: str) -> DocumentsDeleted:
    return DocumentsDeleted(
        tenant_id=site.tenant_id,
        dataset_id=dataset.id,
        document_ids=[document.id for document in documents],
        file_ids=list(file_ids) or [source_file(document) for document in documents],
        doc_form="text_model",
    )


def _to_remove(site: Site, dataset: Dataset, *document_ids: str) -> DocumentsRemovalRequested:
    return DocumentsRemovalRequested(tenant_id=site.tenant_id, dataset_id=dataset.id, document_ids=list(document_ids))


async def _delete(site: Site, documents: list[Document]) -> None:
    for document in documents:
        await site.delete(Document, id=document.id)


@pytest.mark.requirement("Clean-up", "of many")
async def test_a_batch_goes_in_steps_and_nothing_else(site: Site) -> None:
    """One `document.deleted` per document, a bounded number per step.

    The files are deleted too; everything else stays.
    """
    dataset = await site.add_dataset()
    neighbour = await add_full(site, dataset)
    kept, kept_files = await left(site, dataset_id=dataset.id), stored(site)
    documents = [await add_full(site, dataset) for _ in range(5)]
    await _delete(site, documents)
    await site.delete(UploadFile, id=source_file(documents[0]))
    await site.platform.storage.delete(f"upload_files/{site.tenant_id}/{source_file(documents[0])}.txt")
    await site.published()
    event = _deleted(site, dataset, documents)

    steps, waiting = [], [event]
    cleaned: list[DocumentDeleted] = []
    while waiting:
        steps.append(await site.run(clean_documents, waiting.pop()))
        published = await site.published()
        waiting += [one for one in published if isinstance(one, DocumentsDeleted)]
        cleaned += [one for one in published if isinstance(one, DocumentDeleted)]

    assert [step for step in steps if isinstance(step, dict) and step["done"]] == steps[-1:]
    assert [step["requested"] for step in steps if isinstance(step, dict)] == [2, 2, 1, 0, 0]
    assert sum(step["removed"]["files"] for step in steps if isinstance(step, dict)) == 4
    assert [one.document_id for one in cleaned] == event.document_ids
    assert {(one.dataset_id, one.tenant_id, one.occurred_at) for one in cleaned} == {
        (dataset.id, site.tenant_id, event.occurred_at)
    }
    await settle(site, *cleaned)
    assert await left(site, dataset_id=dataset.id, document_id=neighbour.id) != {}
    rules = {"dataset_process_rules": kept["dataset_process_rules"] + len(documents)}
    assert await left(site, dataset_id=dataset.id) == {**kept, **rules}
    assert stored(site) == kept_files


@pytest.mark.requirement("Clean-up", "of many")
async def test_one_that_still_stands_holds_up_the_batch(site: Site) -> None:
    """At any place in the list: it retries with reason row-still-exists. Nothing is deleted."""
    dataset = await site.add_dataset()
    documents = [await add_full(site, dataset) for _ in range(3)]
    await _delete(site, documents[:2])
    before, files_before = await left(site, dataset_id=dataset.id), stored(site)

    with pytest.raises(Retry, match=f"1 of the documents still have .* document {documents[2].id}") as asked:
        await site.run(clean_documents, _deleted(site, dataset, documents))

    assert asked.value.reason == Reason.ROW_STILL_EXISTS
    assert await left(site, dataset_id=dataset.id) == before
    assert stored(site) == files_before


async def test_a_file_of_another_tenant_stays(site: Site) -> None:
    """An event cannot delete files of another tenant."""
    dataset = await site.add_dataset()
    documents = [await add_full(site, dataset)]
    await _delete(site, documents)
    event = _deleted(site, dataset, documents).model_copy(update={"tenant_id": str(uuid4())})
    with pytest.raises(Permanent, match=f"dataset {dataset.id} belongs to another tenant than the event"):
        await site.run(clean_documents, event)
    assert await site.count(UploadFile, id=source_file(documents[0])) == 1


async def test_an_id_that_is_none_is_refused_for_good(site: Site) -> None:
    """Permanent, with the name of the field, before anything is changed."""
    event = _deleted(site, await site.add_dataset(), [])
    for field in ("dataset_id", "tenant_id", "document_ids", "file_ids"):
        wrong = event.model_copy(update={field: [str(uuid4()), "x"] if field.endswith("s") else "x"})
        with pytest.raises(Permanent, match=f"{field} 'x' is not a UUID"):
            await site.run(clean_documents, wrong)
    assert await site.published() == []


@pytest.mark.requirement("Clean-up", "of Notion pages: rows, then the rest; a missing one stops nothing")
async def test_removed_documents_leave_nothing(site: Site) -> None:
    """Rows and their dependent rows are deleted in steps.

    A document that is missing or in another dataset is skipped.
    """
    dataset, other = [await site.add_dataset() for _ in range(2)]
    documents = [await add_full(site, dataset) for _ in range(3)]
    elsewhere = await add_full(site, other)
    kept, kept_files = await left(site, dataset_id=other.id), stored(site)
    gone = str(uuid4())
    await site.published()
    ids = [documents[0].id, gone, elsewhere.id, documents[1].id, documents[2].id, documents[0].id]

    results = await settle(site, _to_remove(site, dataset, *ids))

    assert [result for result in results if "missing" in result] == [
        {"done": False, "removed": 1, "missing": 1},
        {"done": False, "removed": 1, "missing": 1},
        {"done": True, "removed": 1, "missing": 0},
    ]
    assert set(await left(site, dataset_id=dataset.id)) == {"dataset_process_rules"}
    assert await left(site, dataset_id=other.id) == kept
    assert {key for key in kept_files if elsewhere.id in key or source_file(elsewhere) in key} <= stored(site)
    assert len(stored(site)) == 2, "its file and its image"
    assert await site.count(Document) == 1


async def test_a_document_of_another_tenant_is_not_removed(site: Site) -> None:
    """The event is refused, and nothing is changed."""
    dataset = await site.add_dataset()
    document = await add_full(site, dataset)
    event = _to_remove(site, dataset, document.id).model_copy(update={"tenant_id": str(uuid4())})
    with pytest.raises(Permanent, match=f"dataset {dataset.id} belongs to another tenant than the event"):
        await site.run(remove_documents, event)
    assert await site.count(Document, id=document.id) == 1


@pytest.mark.requirement("Clean-up", "of Notion pages: rows, then the rest; a missing one stops nothing")
async def test_the_event_has_what_the_clean_up_needs(site: Site) -> None:
    """The event has the form, the tenant and the file of an upload, and no file for a Notion page."""
    dataset = await site.add_dataset()
    upload = await site.add_document(dataset, b"text", doc_form="qa_model")
    page = await site.add_document(dataset, None, data_source_type="notion_import", data_source_info="{}")
    event = _to_remove(site, dataset, upload.id, page.id).model_copy(update={"tenant_id": None})

    await site.run(remove_documents, event)

    published = {one.document_id: one for one in await site.published() if isinstance(one, DocumentDeleted)}
    assert published[upload.id].file_id == source_file(upload)
    assert (published[upload.id].doc_form, published[page.id].doc_form) == ("qa_model", "text_model")
    assert published[page.id].file_id is None
    assert {one.tenant_id for one in published.values()} == {site.tenant_id}


@pytest.mark.requirement("Clean-up", "of Notion pages: rows, then the rest; a missing one stops nothing")
async def test_removal_waits_for_a_step_of_the_indexing(site: Site) -> None:
    """The removal waits while a step holds the lock. It holds no lock that the step may wait for."""
    dataset = await site.add_dataset()
    documents = sorted([await site.add_document(dataset, b"text") for _ in range(2)], key=lambda one: one.id)
    async with site.transaction() as step:
        await step.execute(
            select(Dataset.id).where(Dataset.id == dataset.id).with_for_update(read=True, key_share=True)
        )
        await step.execute(select(Document.id).where(Document.id == documents[0].id).with_for_update(key_share=True))
        removal = asyncio.create_task(site.run(remove_documents, _to_remove(site, dataset, *[d.id for d in documents])))
        await _wait_for_a_lock(site)
        assert not removal.done()
        await step.execute(select(Document.id).where(Document.id == documents[1].id).with_for_update(key_share=True))
    assert await asyncio.wait_for(removal, 10) == {"done": True, "removed": 2, "missing": 0}
    assert await site.count(Document) == 0


async def _wait_for_a_lock(site: Site) -> None:
    async with asyncio.timeout(10):
        while True:
            async with site.transaction() as session:
                waiting = "select exists (select from pg_stat_activity where wait_event_type = 'Lock')"
                if await session.scalar(text(waiting)):
                    return
            await asyncio.sleep(0.02)


@pytest.mark.requirement("Clean-up", "killed at any statement")
async def test_workers_killed_at_any_statement(site: Site) -> None:
    """For a batch and for a removal: each step is atomic."""
    dataset = await site.add_dataset()
    deleted, removed = [await add_full(site, dataset) for _ in range(2)]
    await _delete(site, [deleted])
    await site.published()
    batch, removal = _deleted(site, dataset, [deleted]), _to_remove(site, dataset, removed.id)

    async def check(_: int) -> None:
        assert await site.published() == []
        assert await site.count(Document, id=removed.id) == 1

    assert await crash_at_each_statement(site, batch, check) >= 3
    first = await site.published()
    assert await crash_at_each_statement(site, removal, check) >= 3
    await settle(site, *first, *await site.published())
    assert set(await left(site, dataset_id=dataset.id)) == {"dataset_process_rules"}
    assert stored(site) == set()
