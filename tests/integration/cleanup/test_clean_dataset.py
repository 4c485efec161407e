"""A deleted dataset leaves nothing. Each clean-up step publishes the next one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from schemas import DatasetDeleted, DocumentDeleted
from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.dify.cleanup import delete as delete_module
from streams.dify.keywords.file import keyword_file
from streams.dify.models import (
    ChildChunk,
    Dataset,
    DatasetKeywordTable,
    Document,
    DocumentSegment,
    UploadFile,
)
from streams.dify.uploads import files
from streams.dify.vector_stores.pgvector import table_name
from streams.dify.vector_stores.port import index_struct
from tests.support.platform.app_rows import awaited_locks, wait_for_locks
from tests.support.platform.cleanup_steps import (
    DATASET_TABLES,
    add_full,
    add_to_dataset,
    crash_at_each_statement,
    left,
    leftover_error,
    settle,
    source_file,
    stored,
)
from tests.support.platform.handler_runs import DirectWork, Site, open_site, prose
from tests.support.platform.store_fixtures import of_store

__all__ = ["of_store"]

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
NOTHING = {"done": True, "removed": {}}
TABLE = b'{"__type__": "keyword_table", "__data__": {"index_id": null, "summary": null, "table": {}}}'


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many steps from few rows."""
    monkeypatch.setattr(delete_module, "ROWS_PER_STEP", 3)
    monkeypatch.setattr(delete_module, "DOCUMENTS_PER_STEP", 2)
    monkeypatch.setattr(files, "FILES_PER_STEP", 2)


async def _fill(site: Site, documents: int = 2, paragraphs: int = 3, **columns: object) -> Dataset:
    """Create a dataset with rows in every table that can refer to one, also a keyword table and a keyword file."""
    dataset = await site.add_dataset(**columns)
    for _ in range(documents):
        await add_full(site, dataset, paragraphs)
    await add_to_dataset(site, dataset)
    if not await site.count(DatasetKeywordTable, dataset_id=dataset.id):
        await site.add(DatasetKeywordTable(dataset_id=dataset.id, keyword_table="", data_source_type="file"))
        await site.platform.storage.write(keyword_file(site.tenant_id, dataset.id), TABLE)
    return dataset


@pytest.mark.requirement(
    "The work on the platform's tables",
    "clean a dataset, in bounded steps that publish their continuation",
)
@pytest.mark.requirement("Clean-up", "of any size, in bounded steps that read no whole table")
@pytest.mark.requirement("Clean-up", "of a dataset with everything that hangs on it")
@pytest.mark.usefixtures("small_steps")
async def test_everything_of_the_dataset_goes_in_steps(site: Site) -> None:
    """There are many bounded steps.

    Nothing is left, a neighbour keeps everything, and a repetition has nothing to do.
    """
    neighbour = await _fill(site)
    kept, kept_files = await left(site, dataset_id=neighbour.id), stored(site)
    dataset = await _fill(site, documents=5, paragraphs=4)
    had = await left(site, dataset_id=dataset.id)
    assert set(had) > {model.__tablename__ for model in DATASET_TABLES}
    await site.delete(Dataset, id=dataset.id)
    event = site.dataset_deleted(dataset)

    results = await settle(site, event)

    removed: dict[str, int] = {}
    for result in results:
        for name, count in result["removed"].items():
            assert count <= (2 if name in {"images", "documents", "files"} else 3), result
            removed[name] = removed.get(name, 0) + count
    assert len(results) > 10
    # The vectors are dropped with their collection and not counted.
    del had["vectors"]
    assert removed == {**had, "images": 5, "files": 5, "collections": 1}
    assert await left(site, dataset_id=dataset.id) == {}
    assert await left(site, dataset_id=neighbour.id) == kept
    assert stored(site) == kept_files
    assert await settle(site, event) == [NOTHING]


async def test_a_dataset_of_ordinary_size_takes_one_step(site: Site) -> None:
    """There is no second step if one is enough."""
    dataset = await _fill(site)
    await site.delete(Dataset, id=dataset.id)
    assert len(await settle(site, site.dataset_deleted(dataset))) == 1
    assert await left(site, dataset_id=dataset.id) == {}
    assert stored(site) == set()


@pytest.mark.requirement("The work on the platform's tables", "a clean-up whose row still stands touches nothing")
async def test_a_dataset_that_still_stands_is_not_touched(site: Site) -> None:
    """It retries, with the reason row-still-exists for a dead letter. Nothing is deleted."""
    dataset = await _fill(site, documents=1)
    before, files_before = await left(site, dataset_id=dataset.id), stored(site)

    with pytest.raises(Retry) as asked:
        await site.run(clean_dataset, site.dataset_deleted(dataset))

    assert asked.value.reason == Reason.ROW_STILL_EXISTS
    assert await left(site, dataset_id=dataset.id) == before
    assert stored(site) == files_before


@pytest.mark.requirement(
    "Clean-up",
    "of a dataset whose documents are gone already; without doc_form, technique, index_struct, binding; "
    "pgvector and Qdrant",
)
async def test_its_documents_are_gone_already(of_store: Site) -> None:
    """The documents were deleted and cleaned up before. Collection, keyword table and rules are deleted too."""
    site = of_store
    dataset = await _fill(site)
    async with site.transaction() as session:
        ids = list((await session.scalars(text("select id::text from documents"))).all())
    for document_id in ids:
        document = await site.document(document_id)
        await site.delete(Document, id=document_id)
        await settle(site, site.document_deleted(document, source_file(document)))
    had = await left(site, dataset_id=dataset.id)
    assert {"dataset_keyword_tables", "dataset_process_rules", "dataset_queries"} <= set(had)
    await site.delete(Dataset, id=dataset.id)

    (result,) = await settle(site, site.dataset_deleted(dataset))

    assert result["removed"]["collections"] == 1
    assert await left(site, dataset_id=dataset.id) == {}
    assert stored(site) == set()


@pytest.mark.requirement(
    "Clean-up",
    "of a dataset whose documents are gone already; without doc_form, technique, index_struct, binding; "
    "pgvector and Qdrant",
)
async def test_nothing_is_known_of_how_it_was_indexed(of_store: Site) -> None:
    """There is no doc_form, technique, index_struct or tenant, and the binding is deleted.

    The dataset's id finds everything.
    """
    site = of_store
    dataset = await _fill(site)
    await site.delete(Dataset, id=dataset.id)
    event = DatasetDeleted(dataset_id=dataset.id, collection_binding_id=str(uuid4()))

    await settle(site, event)

    assert await left(site, dataset_id=dataset.id) == {}
    assert stored(site) == set()


@pytest.mark.requirement("Clean-up", "of a dataset with everything that hangs on it")
async def test_an_economy_dataset(site: Site) -> None:
    """There is no collection. The keyword table is deleted."""
    dataset = await _fill(site, indexing_technique="economy")
    await site.delete(Dataset, id=dataset.id)
    await settle(site, site.dataset_deleted(dataset))
    assert await left(site, dataset_id=dataset.id) == {}


@pytest.mark.requirement("Clean-up", "of a dataset with everything that hangs on it")
async def test_what_no_document_or_segment_knows_goes_too(site: Site) -> None:
    """Child chunks and segments whose documents were deleted without them."""
    dataset = await _fill(site)
    await site.delete(Document, dataset_id=dataset.id)
    async with site.transaction() as session:
        await session.execute(text("delete from document_segments where position = 1"))
    assert await site.count(ChildChunk) > await site.count(DocumentSegment) > 0
    await site.delete(Dataset, id=dataset.id)

    await settle(site, site.dataset_deleted(dataset))

    assert await left(site, dataset_id=dataset.id) == {}


@pytest.mark.requirement("Clean-up", "a check that nothing is left")
async def test_what_is_left_is_found(site: Site) -> None:
    """The rows of one table at a time stay without an error. The clean-up names the table and the number of rows.

    The other rows are kept. The collection belongs to another dataset too, which keeps its vectors.
    """
    shared = "Shared_by_mistake_Node"
    struct = index_struct("pgvector", shared)
    dataset = await _fill(site, index_struct=struct)
    other = await add_full(site, await site.add_dataset(index_struct=struct))
    had = await left(site, dataset_id=dataset.id)
    await site.delete(Dataset, id=dataset.id)
    deletion = site.dataset_deleted(dataset).model_copy(update={"index_struct": struct})
    expected = {name: f"{count} {name}" for name, count in had.items()} | {table_name(shared): "6 vectors"}

    for table, words in expected.items():
        said = f"the clean-up of dataset {dataset.id} has ended, but these are left: {words}"
        assert await leftover_error(site, deletion, table) == said
        assert await left(site, dataset_id=dataset.id) == had
    await settle(site, deletion)
    assert await left(site, dataset_id=dataset.id) == {}
    async with site.transaction() as session:
        vectors = site.platform.vectors
        assert await vectors.count(session, shared) == 3
        assert await vectors.count(session, shared, document_id=other.id) == 3


@pytest.mark.requirement("Clean-up", "of a dataset with everything that hangs on it")
async def test_a_collection_of_another_name_goes_too(site: Site) -> None:
    """index_struct names the collection that the dataset used. The collection of its id is dropped as well."""
    named = "Older_prefix_0_Node"
    dataset = await site.add_dataset(index_struct=index_struct("pgvector", named))
    document = await site.add_document(dataset, prose(2))
    await site.run(index_document, site.request(document))
    vectors = site.platform.vectors
    async with site.transaction() as session:
        assert await vectors.count(session, named) > 0
        await vectors.create(session, site.collection(dataset.id), 256)
    await site.delete(Dataset, id=dataset.id)

    event = site.dataset_deleted(dataset).model_copy(update={"index_struct": dataset.index_struct})
    await settle(site, event)

    async with site.transaction() as session:
        for collection in (named, site.collection(dataset.id)):
            assert await session.scalar(text("select to_regclass(:name)"), {"name": table_name(collection)}) is None


async def test_a_broken_index_struct_is_refused_for_good(site: Site) -> None:
    """Permanent: the dataset's collection is unknown, so an operator has to check it."""
    event = DatasetDeleted(dataset_id=str(uuid4()), index_struct="Vector_index")
    with pytest.raises(Permanent, match="index_struct"):
        await site.run(clean_dataset, event)


async def test_dataset_and_document_deleted_in_any_order(site: Site) -> None:
    """After the dataset's clean-up, the document's clean-up finds nothing and succeeds.

    So does a late index request.
    """
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    await site.run(index_document, site.request(document))
    await site.delete(Dataset, id=dataset.id)
    await settle(site, site.dataset_deleted(dataset))

    assert await site.run(clean_document, site.document_deleted(document)) == NOTHING
    assert await site.run(index_document, site.request(document)) == {"skipped": "the dataset is gone"}
    assert await left(site, dataset_id=dataset.id) == {}


@pytest.mark.requirement("The work on the platform's tables", "delete wins")
async def test_a_dataset_deleted_while_a_document_is_indexed(site: Site) -> None:
    """Indexing stops at its next step. The clean-up after that deletes everything."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(4))

    async def remove(step: int) -> None:
        if step == 4:
            await site.delete(Dataset, id=dataset.id)
            await settle(site, site.dataset_deleted(dataset))

    result = await site.run(index_document, site.request(document), after_step=remove)

    assert result == {"skipped": "the dataset is gone"}
    assert await left(site, dataset_id=dataset.id) == {}


@pytest.mark.requirement("Clean-up", "killed at any statement")
async def test_a_worker_killed_at_any_statement(of_store: Site) -> None:
    """The neighbour always keeps everything. The last repetition leaves nothing."""
    site = of_store
    neighbour = await _fill(site, documents=1)
    kept, kept_files = await left(site, dataset_id=neighbour.id), stored(site)
    dataset = await _fill(site, documents=1)
    await site.delete(Dataset, id=dataset.id)

    async def check(_: int) -> None:
        assert await left(site, dataset_id=neighbour.id) == kept
        assert stored(site) >= kept_files

    assert await crash_at_each_statement(site, site.dataset_deleted(dataset), check) > 20

    assert await left(site, dataset_id=dataset.id) == {}
    assert await left(site, dataset_id=neighbour.id) == kept
    assert stored(site) == kept_files
    assert await site.count(UploadFile) == 2


@pytest.mark.requirement("Clean-up", "clean-ups of a dataset and its documents at the same time do not fail")
async def test_clean_ups_wait_for_each_other(site: Site) -> None:
    """The first one has not committed. The others wait before they lock a row, so there is no deadlock."""
    dataset = await site.add_dataset()
    document = await add_full(site, dataset)
    await site.delete(Document, id=document.id)
    await site.delete(Dataset, id=dataset.id)
    of_document = DocumentDeleted(
        tenant_id=site.tenant_id, document_id=document.id, dataset_id=dataset.id, doc_form="text_model"
    )
    of_dataset = DatasetDeleted(tenant_id=site.tenant_id, dataset_id=dataset.id)
    async with site.transaction() as session:
        await clean_document.function(of_document, DirectWork(site, session))
        work = ((clean_document, of_document), (clean_dataset, of_dataset))
        others = [asyncio.create_task(site.run(handler, one)) for handler, one in work]
        await wait_for_locks(site, len(others))
        assert await awaited_locks(session) == ["advisory"]
    results = await asyncio.gather(*others)
    assert [result["done"] for result in results if isinstance(result, dict)] == [True, True]
    assert await left(site, dataset_id=dataset.id) == {}
