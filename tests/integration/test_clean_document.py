"""A deleted document leaves nothing behind, whatever comes first."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from streams.agents.document import clean_document, index_document
from streams.delivery import Permanent, Retry
from streams.delivery.failures import Reason
from streams.dify.models import (
    ChildChunk,
    Dataset,
    DatasetMetadataBinding,
    Document,
    DocumentSegment,
    UploadFile,
)
from streams.dify.source import upload_file_id
from tests.integration.direct_work import Site, open_site, prose


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


def _file(document: Document) -> str:
    return upload_file_id(document.data_source_type, document.data_source_info)


def _child(segment: DocumentSegment) -> ChildChunk:
    return ChildChunk(
        tenant_id=segment.tenant_id,
        dataset_id=segment.dataset_id,
        document_id=segment.document_id,
        segment_id=segment.id,
        position=1,
        content="child",
        word_count=5,
        created_by=segment.created_by,
    )


def _binding(document: Document) -> DatasetMetadataBinding:
    return DatasetMetadataBinding(
        tenant_id=document.tenant_id,
        dataset_id=document.dataset_id,
        metadata_id=str(uuid4()),
        document_id=document.id,
        created_by=document.created_by,
    )


async def _add_file(site: Site, folder: str, tenant_id: str) -> UploadFile:
    file_id = str(uuid4())
    key = f"{folder}/{tenant_id}/{file_id}.png"
    await site.platform.storage.write(key, b"picture")
    file = UploadFile(
        id=file_id,
        tenant_id=tenant_id,
        storage_type="local",
        key=key,
        name="picture.png",
        size=7,
        extension="png",
        created_by=str(uuid4()),
    )
    await site.add(file)
    return file


async def test_everything_of_the_document_goes_and_nothing_else(site: Site) -> None:
    """Vectors, segments, child chunks, bindings, source file: gone; a neighbour in the same dataset keeps its own."""
    dataset = await site.add_dataset()
    document, neighbour = [await site.add_document(dataset, prose(4)) for _ in range(2)]
    for one in (document, neighbour):
        await site.run(index_document, site.request(one))
        await site.add(_child((await site.segments(one.id))[0]), _binding(one))
    file_id, kept = _file(document), len(await site.segments(neighbour.id))
    async with site.transaction() as session:
        key = (await session.get_one(UploadFile, file_id)).key
    await site.delete(Document, id=document.id)

    result = await site.run(clean_document, site.document_deleted(document, file_id))

    assert result == {"segments": kept, "files": 1}
    for model in (DocumentSegment, ChildChunk, DatasetMetadataBinding):
        assert await site.count(model, document_id=document.id) == 0
        assert await site.count(model, document_id=neighbour.id) > 0
    assert await site.vectors(dataset.id) == kept
    assert await site.count(UploadFile, id=file_id) == 0
    assert not await site.platform.storage.exists(key)
    assert await site.count(UploadFile, id=_file(neighbour)) == 1

    assert await site.run(clean_document, site.document_deleted(document, file_id)) == {"segments": 0, "files": 0}


async def test_a_document_that_still_stands_is_not_touched(site: Site) -> None:
    """Sent too early, or the delete rolled back: a retry that would die as row-still-exists; nothing is gone."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    await site.run(index_document, site.request(document))
    before = len(await site.segments(document.id))

    with pytest.raises(Retry) as asked:
        await site.run(clean_document, site.document_deleted(document, _file(document)))

    assert asked.value.reason == Reason.ROW_STILL_EXISTS
    assert len(await site.segments(document.id)) == before == await site.vectors(dataset.id)
    assert await site.count(UploadFile, id=_file(document)) == 1


async def test_clean_up_before_the_late_index_request(site: Site) -> None:
    """The two events swapped: the request finds no document and writes nothing."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    await site.delete(Document, id=document.id)
    await site.run(clean_document, site.document_deleted(document))

    assert await site.run(index_document, site.request(document)) == {"skipped": "the document is gone"}
    assert await site.segments(document.id) == []
    assert await site.vectors(dataset.id) == 0


async def test_it_works_when_the_dataset_went_first(site: Site) -> None:
    """No dataset row: the collection is found by the dataset's id."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    await site.run(index_document, site.request(document))
    assert await site.vectors(dataset.id) > 0
    await site.delete(Dataset, id=dataset.id)
    await site.delete(Document, id=document.id)

    await site.run(clean_document, site.document_deleted(document))

    assert await site.vectors(dataset.id) == 0
    assert await site.segments(document.id) == []


async def test_a_document_that_was_never_indexed(site: Site) -> None:
    """No collection, no segments: clean-up has nothing to do and succeeds."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"text")
    await site.delete(Document, id=document.id)
    assert await site.run(clean_document, site.document_deleted(document)) == {"segments": 0, "files": 0}


async def test_only_images_of_the_document_itself_go(site: Site) -> None:
    """What extraction put aside goes; a linked upload of a person, or of another tenant, stays."""
    dataset = await site.add_dataset()
    picture = await _add_file(site, "image_files", site.tenant_id)
    upload = await _add_file(site, "upload_files", site.tenant_id)
    foreign = await _add_file(site, "image_files", str(uuid4()))
    links = " ".join(f"![image](http://host/files/{file.id}/file-preview)" for file in (picture, upload, foreign))
    document = await site.add_document(dataset, f"See {links}".encode())
    await site.run(index_document, site.request(document))
    await site.delete(Document, id=document.id)

    assert await site.run(clean_document, site.document_deleted(document)) == {"segments": 1, "files": 1}

    assert await site.count(UploadFile, id=picture.id) == 0
    assert not await site.platform.storage.exists(picture.key)
    for file in (upload, foreign):
        assert await site.count(UploadFile, id=file.id) == 1
        assert await site.platform.storage.exists(file.key)


async def test_a_file_of_another_tenant_stays(site: Site) -> None:
    """An event cannot name a file that its tenant does not own."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"text")
    foreign = await _add_file(site, "upload_files", str(uuid4()))
    await site.delete(Document, id=document.id)

    await site.run(clean_document, site.document_deleted(document, foreign.id))

    assert await site.count(UploadFile, id=foreign.id) == 1
    assert await site.platform.storage.exists(foreign.key)


async def test_an_id_that_is_none_is_refused_for_good(site: Site) -> None:
    """Permanent, naming the field."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"text")
    event = site.document_deleted(document, file_id="../../etc/passwd")
    with pytest.raises(Permanent, match="file_id"):
        await site.run(clean_document, event)
