"""A deleted dataset leaves nothing behind, in steps that ask for the next."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient
from sqlalchemy import text

from schemas import DatasetDeleted
from streams.agents.dataset_cleanup import clean_dataset
from streams.agents.document_indexing import clean_document, index_document
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
from streams.dify.vector_stores.qdrant import QdrantIndex
from tests.support.platform.cleanup_steps import (
    OF_A_DATASET,
    add_full,
    add_to_dataset,
    crash_at_each_statement,
    left,
    said_to_be_left,
    settle,
    source_file,
    stored,
)
from tests.support.platform.handler_runs import Site, open_site, prose

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
NOTHING = {"done": True, "removed": {}}
TABLE = b'{"__type__": "keyword_table", "__data__": {"index_id": null, "summary": null, "table": {}}}'


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


@pytest.fixture(params=["pgvector", "qdrant"])
async def of_store(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> AsyncIterator[Site]:
    """The site, with either store."""
    if request.param == "pgvector":
        yield site
        return
    client = AsyncQdrantClient(path=str(tmp_path / "qdrant"))
    yield replace(site, platform=replace(site.platform, vectors=QdrantIndex(lambda: client)))
    await client.close()


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many steps from few rows."""
    monkeypatch.setattr(delete_module, "ROWS_A_STEP", 3)
    monkeypatch.setattr(delete_module, "DOCUMENTS_A_STEP", 2)
    monkeypatch.setattr(files, "FILES_A_STEP", 2)


async def _fill(site: Site, documents: int = 2, paragraphs: int = 3, **columns: object) -> Dataset:
    """A dataset with rows in every table that can hang on one, a keyword table and a keyword file too."""
    dataset = await site.add_dataset(**columns)
    for _ in range(documents):
        await add_full(site, dataset, paragraphs)
    await add_to_dataset(site, dataset)
    if not await site.count(DatasetKeywordTable, dataset_id=dataset.id):
        await site.add(DatasetKeywordTable(dataset_id=dataset.id, keyword_table="", data_source_type="file"))
        await site.platform.storage.write(keyword_file(site.tenant_id, dataset.id), TABLE)
    return dataset


@pytest.mark.usefixtures("small_steps")
async def test_everything_of_the_dataset_goes_in_steps(site: Site) -> None:
    """Many bounded steps; nothing of it is left, a neighbour keeps all; a repeat has nothing to do."""
    neighbour = await _fill(site)
    kept, kept_files = await left(site, dataset_id=neighbour.id), stored(site)
    dataset = await _fill(site, documents=5, paragraphs=4)
    had = await left(site, dataset_id=dataset.id)
    assert set(had) > {model.__tablename__ for model in OF_A_DATASET}
    await site.delete(Dataset, id=dataset.id)
    event = site.dataset_deleted(dataset)

    results = await settle(site, event)

    removed: dict[str, int] = {}
    for result in results:
        for name, count in result["removed"].items():
            assert count <= (2 if name in {"images", "documents", "files"} else 3), result
            removed[name] = removed.get(name, 0) + count
    assert len(results) > 10
    # The vectors go with their collection, which counts none of them.
    del had["vectors"]
    assert removed == {**had, "images": 5, "files": 5, "collections": 1}
    assert await left(site, dataset_id=dataset.id) == {}
    assert await left(site, dataset_id=neighbour.id) == kept
    assert stored(site) == kept_files
    assert await settle(site, event) == [NOTHING]


async def test_a_dataset_of_ordinary_size_takes_one_step(site: Site) -> None:
    """No continuation where one step has room for all."""
    dataset = await _fill(site)
    await site.delete(Dataset, id=dataset.id)
    assert len(await settle(site, site.dataset_deleted(dataset))) == 1
    assert await left(site, dataset_id=dataset.id) == {}
    assert stored(site) == set()


async def test_a_dataset_that_still_stands_is_not_touched(site: Site) -> None:
    """A retry that would die as row-still-exists; nothing is gone."""
    dataset = await _fill(site, documents=1)
    before, files_before = await left(site, dataset_id=dataset.id), stored(site)

    with pytest.raises(Retry) as asked:
        await site.run(clean_dataset, site.dataset_deleted(dataset))

    assert asked.value.reason == Reason.ROW_STILL_EXISTS
    assert await left(site, dataset_id=dataset.id) == before
    assert stored(site) == files_before


async def test_its_documents_are_gone_already(of_store: Site) -> None:
    """Each was deleted and cleaned up after before: the collection, the keyword table and the rules still go."""
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


async def test_nothing_is_known_of_how_it_was_indexed(of_store: Site) -> None:
    """No doc_form, technique, index_struct, tenant, and a binding that is gone: the dataset's id finds all of it."""
    site = of_store
    dataset = await _fill(site)
    await site.delete(Dataset, id=dataset.id)
    event = DatasetDeleted(dataset_id=dataset.id, collection_binding_id=str(uuid4()))

    await settle(site, event)

    assert await left(site, dataset_id=dataset.id) == {}
    assert stored(site) == set()


async def test_an_economy_dataset(site: Site) -> None:
    """No collection; the keyword table goes with the rest."""
    dataset = await _fill(site, indexing_technique="economy")
    await site.delete(Dataset, id=dataset.id)
    await settle(site, site.dataset_deleted(dataset))
    assert await left(site, dataset_id=dataset.id) == {}


async def test_what_no_document_or_segment_knows_goes_too(site: Site) -> None:
    """Child chunks and segments whose documents somebody removed without them."""
    dataset = await _fill(site)
    await site.delete(Document, dataset_id=dataset.id)
    async with site.transaction() as session:
        await session.execute(text("delete from document_segments where position = 1"))
    assert await site.count(ChildChunk) > await site.count(DocumentSegment) > 0
    await site.delete(Dataset, id=dataset.id)

    await settle(site, site.dataset_deleted(dataset))

    assert await left(site, dataset_id=dataset.id) == {}


async def test_what_is_left_is_found(site: Site) -> None:
    """Of each table in turn the rows stay without an error: the clean-up names it and how many, and keeps the rest.

    The collection is one that another dataset uses too: that one keeps its vectors.
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
        said = f"the clean-up of dataset {dataset.id} is through, and yet there are {words}"
        assert await said_to_be_left(site, deletion, table) == said
        assert await left(site, dataset_id=dataset.id) == had
    await settle(site, deletion)
    assert await left(site, dataset_id=dataset.id) == {}
    async with site.transaction() as session:
        vectors = site.platform.vectors
        assert await vectors.count(session, shared) == 3
        assert await vectors.count(session, shared, document_id=other.id) == 3


async def test_a_collection_of_another_name_goes_too(site: Site) -> None:
    """index_struct names the collection that the dataset used; the one made from its id is dropped as well."""
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
    """Permanent: what the dataset used is not known, so somebody has to look."""
    event = DatasetDeleted(dataset_id=str(uuid4()), index_struct="Vector_index")
    with pytest.raises(Permanent, match="index_struct"):
        await site.run(clean_dataset, event)


async def test_dataset_and_document_deleted_in_any_order(site: Site) -> None:
    """The document's clean-up after the dataset's finds nothing left and succeeds; so does a late index request."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    await site.run(index_document, site.request(document))
    await site.delete(Dataset, id=dataset.id)
    await settle(site, site.dataset_deleted(dataset))

    assert await site.run(clean_document, site.document_deleted(document)) == NOTHING
    assert await site.run(index_document, site.request(document)) == {"skipped": "the dataset is gone"}
    assert await left(site, dataset_id=dataset.id) == {}


async def test_a_dataset_deleted_while_a_document_is_indexed(site: Site) -> None:
    """Indexing stops at its next step; the clean-up that runs then is the last word."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(4))

    async def remove(step: int) -> None:
        if step == 4:
            await site.delete(Dataset, id=dataset.id)
            await settle(site, site.dataset_deleted(dataset))

    result = await site.run(index_document, site.request(document), after_step=remove)

    assert result == {"skipped": "the dataset is gone"}
    assert await left(site, dataset_id=dataset.id) == {}


async def test_a_worker_killed_at_any_statement(of_store: Site) -> None:
    """Each time the neighbour keeps all; the repeat that comes through leaves nothing."""
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
