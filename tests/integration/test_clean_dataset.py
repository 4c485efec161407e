"""A deleted dataset leaves nothing behind, in steps that ask for the next."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from schemas import DatasetDeleted
from streams.agents.dataset import clean_dataset
from streams.agents.document import clean_document, index_document
from streams.delivery import Permanent, Retry
from streams.delivery.failures import Reason
from streams.dify import cleanup
from streams.dify.models import (
    AppDatasetJoin,
    ChildChunk,
    Dataset,
    DatasetKeywordTable,
    DatasetMetadata,
    DatasetMetadataBinding,
    DatasetProcessRule,
    DatasetQuery,
    Document,
    DocumentSegment,
    UploadFile,
)
from streams.dify.vector_index import index_struct
from tests.integration.direct_work import Site, open_site, prose

OF_A_DATASET = (
    AppDatasetJoin,
    ChildChunk,
    DatasetKeywordTable,
    DatasetMetadata,
    DatasetMetadataBinding,
    DatasetProcessRule,
    DatasetQuery,
    Document,
    DocumentSegment,
)


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many steps from few rows."""
    monkeypatch.setattr(cleanup, "SEGMENTS_A_STEP", 5)
    monkeypatch.setattr(cleanup, "DOCUMENTS_A_STEP", 2)
    monkeypatch.setattr(cleanup, "ROWS_A_STEP", 3)


async def _fill(site: Site, documents: int, paragraphs: int) -> Dataset:
    dataset = await site.add_dataset()
    for _ in range(documents):
        document = await site.add_document(dataset, prose(paragraphs))
        await site.run(index_document, site.request(document))
    of_dataset = {"dataset_id": dataset.id}
    of_tenant = {**of_dataset, "tenant_id": site.tenant_id, "created_by": dataset.created_by}
    orphan = {**of_tenant, "document_id": str(uuid4())}
    for _ in range(4):
        await site.add(
            AppDatasetJoin(**of_dataset, app_id=str(uuid4())),
            DatasetMetadata(**of_tenant, type="string", name="author"),
            DatasetMetadataBinding(**orphan, metadata_id=str(uuid4())),
            DatasetQuery(
                **of_dataset, content="?", source="app", created_by_role="account", created_by=dataset.created_by
            ),
            ChildChunk(**orphan, segment_id=str(uuid4()), position=1, content="x", word_count=1),
        )
    await site.add(DatasetKeywordTable(**of_dataset, keyword_table="{}", data_source_type="file"))
    await site.platform.storage.write(f"keyword_files/{site.tenant_id}/{dataset.id}.txt", b"{}")
    return dataset


async def _run_to_the_end(site: Site, event: DatasetDeleted) -> int:
    """Runs the event and every continuation; how many steps that took."""
    steps = 0
    waiting = [event]
    while waiting:
        steps += 1
        assert steps < 200, "the steps do not end"
        result = await site.run(clean_dataset, waiting.pop())
        published = await site.published()
        assert result == {"done": not published}
        waiting += [one for one in published if isinstance(one, DatasetDeleted)]
    return steps


async def _left(site: Site, dataset_id: str) -> dict[str, int]:
    counted = {model.__tablename__: await site.count(model, dataset_id=dataset_id) for model in OF_A_DATASET}
    counted["vectors"] = await site.vectors(dataset_id)
    counted["files"] = await site.count(UploadFile, tenant_id=site.tenant_id)
    return {name: count for name, count in counted.items() if count}


@pytest.mark.usefixtures("small_steps")
async def test_everything_of_the_dataset_goes_in_steps(site: Site) -> None:
    """Many bounded steps, each a new event of the same dataset; nothing of it is left, a neighbour keeps all."""
    dataset = await _fill(site, documents=5, paragraphs=4)
    neighbour = await site.add_dataset()
    kept = await site.add_document(neighbour, prose(2), tenant_id=str(uuid4()))
    await site.run(index_document, site.request(kept))
    assert set(await _left(site, dataset.id)) >= {model.__tablename__ for model in OF_A_DATASET}
    await site.delete(Dataset, id=dataset.id)
    event = site.dataset_deleted(dataset)

    await site.run(clean_dataset, event)
    (second,) = await site.published()
    assert isinstance(second, DatasetDeleted)
    assert second.event_id != event.event_id
    assert second.model_dump(exclude={"event_id"}) == event.model_dump(exclude={"event_id"})
    assert await _run_to_the_end(site, second) > 4

    # The neighbour's upload file was added under this tenant too.
    assert await _left(site, dataset.id) == {"files": 1}
    assert not await site.platform.storage.exists(f"keyword_files/{site.tenant_id}/{dataset.id}.txt")
    assert await site.vectors(neighbour.id) == len(await site.segments(kept.id)) > 0
    assert await _run_to_the_end(site, event) == 1


async def test_a_dataset_of_ordinary_size_takes_one_step(site: Site) -> None:
    """No continuation where one step has room for all."""
    dataset = await _fill(site, documents=2, paragraphs=2)
    await site.delete(Dataset, id=dataset.id)
    assert await _run_to_the_end(site, site.dataset_deleted(dataset)) == 1
    assert await _left(site, dataset.id) == {}


async def test_a_dataset_that_still_stands_is_not_touched(site: Site) -> None:
    """A retry that would die as row-still-exists; nothing is gone."""
    dataset = await _fill(site, documents=1, paragraphs=2)
    before = await _left(site, dataset.id)

    with pytest.raises(Retry) as asked:
        await site.run(clean_dataset, site.dataset_deleted(dataset))

    assert asked.value.reason == Reason.ROW_STILL_EXISTS
    assert await _left(site, dataset.id) == before


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
    await _run_to_the_end(site, event)

    async with site.transaction() as session:
        assert await vectors.count(session, named) == 0
    assert await site.vectors(dataset.id) == 0


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
    await _run_to_the_end(site, site.dataset_deleted(dataset))

    assert await site.run(clean_document, site.document_deleted(document)) == {"segments": 0, "files": 0}
    assert await site.run(index_document, site.request(document)) == {"skipped": "the dataset is gone"}
    assert await _left(site, dataset.id) == {}


async def test_a_dataset_deleted_while_a_document_is_indexed(site: Site) -> None:
    """Indexing stops at its next step; the clean-up that runs then is the last word."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(4))

    async def remove(step: int) -> None:
        if step == 4:
            await site.delete(Dataset, id=dataset.id)
            await _run_to_the_end(site, site.dataset_deleted(dataset))

    result = await site.run(index_document, site.request(document), after_step=remove)

    assert result == {"skipped": "the dataset is gone"}
    assert await _left(site, dataset.id) == {}
