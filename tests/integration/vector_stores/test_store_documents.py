"""What every vector store does with the same documents."""

import pytest

from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.delivery import Permanent
from streams.dify.models import Dataset, Document
from streams.dify.search import passages
from streams.dify.vector_stores.port import collection_name, index_struct
from tests.support.platform.cleanup_steps import assert_delete_wins, settle
from tests.support.platform.handler_runs import Site, prose
from tests.support.platform.store_fixtures import an_id, entry

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
SECTION = "Embedding and loading"
CONTRACT = "every vector store passes one suite: write, search, delete by node, document and dataset, repeat"
LENGTH = (
    "a collection with vectors of another length is a permanent error at the first attempt; an empty one is made anew"
)


@pytest.mark.requirement(SECTION, LENGTH)
async def test_a_document_of_another_length_ends_at_once(each_store: Site) -> None:
    """The handler's error is permanent. The document shows the reason and no SQL."""
    site = each_store
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    async with site.transaction() as session:
        collection = site.collection(dataset.id)
        await site.platform.vectors.create(session, collection, 8)
        await site.platform.vectors.upsert(session, collection, [entry(dataset.id, [1.0] * 8)])
    with pytest.raises(Permanent) as failure:
        await site.run(index_document, site.request(document))
    await site.die(index_document, site.request(document), failure.value)
    shown = await site.document(document.id)
    assert shown.indexing_status == "error"
    assert shown.error == "the collection has vectors of 8 numbers, the model gives 256"


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_a_dataset_of_another_store_is_refused(each_store: Site) -> None:
    """Its vectors would never be found. A permanent error, and nothing is written."""
    site = each_store
    struct = index_struct("another_store", collection_name("Vector_index", an_id()))
    dataset = await site.add_dataset(index_struct=struct)
    document = await site.add_document(dataset, prose(2))
    with pytest.raises(Permanent, match=r"^the dataset's vectors are in another_store, but STREAMS_VECTOR_STORE is "):
        await site.run(index_document, site.request(document))
    assert await site.vectors(dataset.id) == 0
    own = await site.add_dataset(index_struct=index_struct(site.platform.vectors.kind, site.collection(dataset.id)))
    await site.run(index_document, site.request(await site.add_document(own, prose(2))))
    assert await site.vectors(dataset.id) == 2


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_documents_come_and_go(each_store: Site) -> None:
    """Indexed twice it is there once, it is found, and nothing is left of a deleted document or dataset."""
    site = each_store
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(3), name="rooms.txt")
    other = await site.add_document(dataset, b"The printer eats green paper only.", name="printer.txt")
    for one in (document, other, document):
        await site.run(index_document, site.request(one))
    assert await site.vectors(dataset.id) == len(await site.segments(document.id)) + 1
    async with site.transaction() as session:
        (best,) = await passages(session, site.platform, dataset.id, "What does the printer eat?", 1)
        struct = await session.get_one(Dataset, dataset.id)
    assert best.document == "printer.txt"
    assert struct.index_struct is not None
    assert f'"type": "{site.platform.vectors.kind}"' in struct.index_struct
    await site.delete(Document, id=document.id)
    await site.run(clean_document, site.document_deleted(document))
    assert await site.vectors(dataset.id) == 1
    await site.delete(Dataset, id=dataset.id)
    await settle(site, site.dataset_deleted(dataset))
    assert await site.vectors(dataset.id) == 0


@pytest.mark.requirement(SECTION, CONTRACT)
async def test_delete_wins_between_any_two_steps(each_store: Site) -> None:
    """The document is deleted after the first, second, … step. Nothing is left."""
    await assert_delete_wins(each_store)
