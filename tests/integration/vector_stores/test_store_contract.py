"""What every vector store does with the same calls."""

import asyncio

import pytest

from streams.dify.errors import RefusedError
from streams.dify.vector_stores.port import AnnotationEntry, VectorQuery, collection_name
from tests.support.platform.handler_runs import Site
from tests.support.platform.store_fixtures import an_id, entry

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
SECTION = "Embedding and loading"
CONTRACT = "every vector store passes one suite: write, search, delete by node, document and dataset, repeat"
LENGTH = (
    "a collection with vectors of another length is a permanent error at the first attempt; an empty one is made anew"
)


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_what_is_written_is_found_once(each_store: Site) -> None:
    """The nearest comes first with its text, document and score. The same node id is replaced."""
    index, dataset, document = each_store.platform.vectors, an_id(), an_id()
    collection = collection_name("Vector_index", dataset)
    far, near = entry(dataset, [0.0, 1.0]), entry(dataset, [1.0, 0.0], document, "Ünïcode \U0001f600, 'quoted'")
    async with each_store.transaction() as session:
        await index.create(session, collection, 2)
        await index.upsert(session, collection, [far, near])
        await index.upsert(session, collection, [near])
        await index.upsert(session, collection, [])
        assert await index.count(session, collection) == 2
        assert await index.count(session, collection, document_id=document) == 1
        assert await index.count(session, collection, dataset_id=an_id()) == 0
        first, second = await index.search(session, VectorQuery(collection, dataset, [0.8, 0.6]), 5)
    assert (first.node_id, first.document_id, first.content) == (near.node_id, document, near.content)
    assert first.score == pytest.approx(0.8, abs=1e-5)
    assert second.score == pytest.approx(0.6, abs=1e-5)


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_deletions_remove_what_they_name(each_store: Site) -> None:
    """Nodes and documents go only with the dataset that they belong to. Each deletion says how many it found."""
    index, dataset, document = each_store.platform.vectors, an_id(), an_id()
    collection = collection_name("Vector_index", dataset)
    entries = [entry(dataset, [1.0, 0.0], document) for _ in range(3)]
    other = entry(dataset, [1.0, 0.0])
    async with each_store.transaction() as session:
        await index.create(session, collection, 2)
        await index.upsert(session, collection, [*entries, other])
        nodes = [entries[0].node_id, an_id()]
        assert await index.delete_nodes(session, collection, an_id(), nodes) == 0
        assert [await index.delete_nodes(session, collection, dataset, nodes) for _ in range(2)] == [1, 0]
        assert await index.delete_document(session, collection, an_id(), document) == 0
        assert [await index.delete_document(session, collection, dataset, document) for _ in range(2)] == [2, 0]
        (left,) = await index.search(session, VectorQuery(collection, dataset, [1.0, 0.0]), 5)
        assert left.node_id == other.node_id


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_thousands_of_nodes_go_at_once(each_store: Site) -> None:
    """More than a store answers in one page."""
    index, dataset = each_store.platform.vectors, an_id()
    collection = collection_name("Vector_index", dataset)
    entries = [entry(dataset, [1.0, number / 100]) for number in range(1200)]
    async with each_store.transaction() as session:
        await index.create(session, collection, 2)
        for start in range(0, len(entries), 400):
            await index.upsert(session, collection, entries[start : start + 400])
        assert await index.count(session, collection) == 1200
        nodes = [one.node_id for one in entries[:1100]]
        assert await index.delete_nodes(session, collection, dataset, nodes) == 1100
        assert await index.count(session, collection) == 100
        found = await index.search(session, VectorQuery(collection, dataset, [1.0, 12.0]), 60)
        assert len(found) == 60


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_a_dataset_goes_with_its_collection(each_store: Site) -> None:
    """Its own collection is dropped. In a shared one only its entries go."""
    index, one, other = each_store.platform.vectors, an_id(), an_id()
    own, shared = collection_name("Vector_index", one), collection_name("Vector_index", an_id())
    async with each_store.transaction() as session:
        for collection in (own, shared):
            await index.create(session, collection, 2)
        await index.upsert(session, own, [entry(one, [1.0, 0.0])])
        await index.upsert(session, shared, [entry(one, [1.0, 0.0]), entry(other, [1.0, 0.0])])
        assert [await index.drop(session, own, one, shared=False) for _ in range(2)] == [True, False]
        assert [await index.drop(session, shared, one, shared=True) for _ in range(2)] == [True, False]
        assert await index.count(session, own) == 0
        assert await index.count(session, shared) == await index.count(session, shared, dataset_id=other) == 1
        await index.create(session, own, 3)
        await index.upsert(session, own, [entry(one, [1.0, 0.0, 0.0])])
        assert await index.count(session, own) == 1


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_a_collection_that_is_not_there_is_empty(each_store: Site) -> None:
    """Reading, deleting and dropping cause no error."""
    index, dataset = each_store.platform.vectors, an_id()
    collection = collection_name("Vector_index", dataset)
    async with each_store.transaction() as session:
        assert await index.search(session, VectorQuery(collection, dataset, [1.0, 0.0]), 5) == []
        assert await index.delete_nodes(session, collection, dataset, [an_id()]) == 0
        assert await index.delete_document(session, collection, dataset, an_id()) == 0
        assert not await index.drop(session, collection, dataset, shared=False)
        assert await index.count(session, collection) == 0


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_annotations_are_entries_without_a_document(each_store: Site) -> None:
    """The app takes the place of the dataset."""
    index, app, annotation = each_store.platform.vectors, an_id(), an_id()
    collection = collection_name("Vector_index", an_id())
    async with each_store.transaction() as session:
        await index.create(session, collection, 2)
        await index.upsert(session, collection, [AnnotationEntry(annotation, app, "Who?", [1.0, 0.0])])
        assert await index.count(session, collection, dataset_id=app) == 1
        assert await index.delete_nodes(session, collection, app, [annotation]) == 1
        assert await index.count(session, collection) == 0


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_many_create_the_same_collection(each_store: Site) -> None:
    """Six concurrent transactions: one creates it, the others wait and find it."""
    index, dataset = each_store.platform.vectors, an_id()
    collection = collection_name("Vector_index", dataset)

    async def write() -> None:
        async with each_store.transaction() as session:
            await index.create(session, collection, 2)
            await index.upsert(session, collection, [entry(dataset, [1.0, 0.0])])

    await asyncio.wait_for(asyncio.gather(*(write() for _ in range(6))), 30)
    async with each_store.transaction() as session:
        assert await index.count(session, collection) == 6


@pytest.mark.requirement(SECTION, LENGTH)
async def test_vectors_of_another_length_are_refused(each_store: Site) -> None:
    """Nothing is changed, and a retry gives the same."""
    index, dataset = each_store.platform.vectors, an_id()
    collection = collection_name("Vector_index", dataset)
    async with each_store.transaction() as session:
        await index.create(session, collection, 8)
        await index.upsert(session, collection, [entry(dataset, [1.0] * 8)])
    for _ in range(2):
        with pytest.raises(RefusedError, match=r"^the collection has vectors of 8 numbers, the model gives 256$"):
            async with each_store.transaction() as session:
                await index.create(session, collection, 256)
    async with each_store.transaction() as session:
        assert await index.count(session, collection) == 1


@pytest.mark.requirement(SECTION, LENGTH)
async def test_a_search_with_another_length_is_refused(each_store: Site) -> None:
    """The same line for each store, and no SQL. Afterwards the store answers as before."""
    index, dataset = each_store.platform.vectors, an_id()
    collection = collection_name("Vector_index", dataset)
    async with each_store.transaction() as session:
        await index.create(session, collection, 2)
        await index.upsert(session, collection, [entry(dataset, [1.0, 0.0])])
    with pytest.raises(RefusedError, match=r"^the collection has vectors of 2 numbers, the model gives 3$"):
        async with each_store.transaction() as session:
            await index.search(session, VectorQuery(collection, dataset, [1.0, 0.0, 0.0]), 5)
    async with each_store.transaction() as session:
        assert len(await index.search(session, VectorQuery(collection, dataset, [1.0, 0.0]), 5)) == 1


@pytest.mark.requirement(SECTION, LENGTH)
async def test_an_empty_collection_of_another_length_is_made_anew(each_store: Site) -> None:
    """Also where its name has letters that SQL reads in its own way."""
    index, dataset = each_store.platform.vectors, an_id()
    name = collection_name("Vector_index", dataset)
    names = [name, f'V:1 "{name}"%'] if index.kind == "pgvector" else [name]
    for collection in names:
        async with each_store.transaction() as session:
            await index.create(session, collection, 8)
        async with each_store.transaction() as session:
            await index.create(session, collection, 3)
            await index.upsert(session, collection, [entry(dataset, [1.0, 0.0, 0.0])])
            await index.create(session, collection, 3)
            assert await index.count(session, collection) == 1
