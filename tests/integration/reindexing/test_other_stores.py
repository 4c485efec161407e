"""The same changes in a store outside the database, which is shared by datasets of one model."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient
from sqlalchemy import update

from schemas import DatasetIndexChanged, DocumentDisabled, DocumentEnabled, SegmentDeleted
from streams.agents.knowledge.dataset_index import rebuild_dataset_index
from streams.agents.knowledge.document_indexing import index_document
from streams.agents.knowledge.document_state import add_document_to_index, remove_document_from_index
from streams.agents.knowledge.segment_state import clean_segments
from streams.dify.models import Dataset, DatasetCollectionBinding, Document, DocumentSegment
from streams.dify.vector_stores.port import index_struct
from streams.dify.vector_stores.qdrant import QdrantIndex
from tests.support.platform.handler_runs import Site, open_site, prose
from tests.support.platform.store_fixtures import of_store

__all__ = ["of_store"]

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
SECTION = "The whole domain"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


@pytest.fixture
async def in_qdrant(site: Site, tmp_path: Path) -> AsyncIterator[Site]:
    client = AsyncQdrantClient(path=str(tmp_path / "qdrant"))
    yield replace(site, platform=replace(site.platform, vectors=QdrantIndex(lambda: client)))
    await client.close()


async def _count(site: Site, collection: str, document: Document) -> int:
    async with site.transaction() as session:
        return await site.platform.vectors.count(session, collection, document_id=document.id)


@pytest.mark.requirement(SECTION, "document.enabled, document.disabled, segment.deleted: with each vector store")
async def test_switched_off_and_on(of_store: Site) -> None:
    """The vectors go and come back. A neighbour's stay."""
    site = of_store
    dataset = await site.add_dataset()
    document, neighbour = [await site.add_document(dataset, prose(2)) for _ in range(2)]
    for one in (document, neighbour):
        await site.run(index_document, site.request(one))
    collection, ids = site.collection(dataset.id), {"tenant_id": site.tenant_id, "document_id": document.id}
    assert await _count(site, collection, document) == 2
    for enabled, expected in ((False, 0), (True, 2)):
        async with site.transaction() as session:
            await session.execute(update(Document).where(Document.id == document.id).values(enabled=enabled))
        if enabled:
            await site.run(add_document_to_index, DocumentEnabled(**ids))
        else:
            await site.run(remove_document_from_index, DocumentDisabled(**ids))
        assert await _count(site, collection, document) == expected
    first, _ = await site.segments(document.id)
    await site.delete(DocumentSegment, id=first.id)
    await site.run(clean_segments, SegmentDeleted(**ids, dataset_id=dataset.id, index_node_ids=[first.index_node_id]))
    assert await _count(site, collection, document) == 1
    assert await _count(site, collection, neighbour) == 2


@pytest.mark.requirement(
    SECTION, "dataset.index-changed: a collection that datasets share loses only the dataset's vectors"
)
async def test_another_binding(in_qdrant: Site) -> None:
    """With another model the dataset gets another binding. Its index_struct still names the former collection."""
    site = in_qdrant
    former, latter = [
        DatasetCollectionBinding(
            id=str(uuid4()),
            provider_name="local",
            model_name=model,
            type="dataset",
            collection_name=f"Vector_index_{uuid4().hex}_Node",
        )
        for model in ("former", "latter")
    ]
    await site.add(former, latter)
    names = former.collection_name, latter.collection_name
    struct = index_struct(site.platform.vectors.kind, names[0])
    datasets = [await site.add_dataset(collection_binding_id=former.id, index_struct=struct) for _ in range(2)]
    documents = [await site.add_document(dataset, prose(2)) for dataset in datasets]
    for one in documents:
        await site.run(index_document, site.request(one))
    changed, other = documents
    async with site.transaction() as session:
        await session.execute(
            update(Dataset).where(Dataset.id == changed.dataset_id).values(collection_binding_id=latter.id)
        )
    event = DatasetIndexChanged(tenant_id=site.tenant_id, dataset_id=changed.dataset_id, action="update")
    await site.run(rebuild_dataset_index, event)
    for published in await site.published():
        await site.run(rebuild_dataset_index, published)
    assert [await _count(site, name, changed) for name in names] == [0, 2]
    assert [await _count(site, name, other) for name in names] == [2, 0]
