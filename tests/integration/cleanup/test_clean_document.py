"""A deleted document leaves nothing, in any order of events."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.dify.models import ChildChunk, Dataset, DatasetMetadataBinding, Document, DocumentSegment, UploadFile
from streams.dify.vector_stores.pgvector import table_name
from tests.support.platform.cleanup_steps import (
    DOCUMENT_TABLES,
    add_full,
    crash_at_each_statement,
    image,
    left,
    leftover_error,
    source_file,
    stored,
)
from tests.support.platform.handler_runs import Site, open_site, prose

NOTHING = {"done": True, "removed": {}}


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


def _of(document: Document) -> dict[str, str]:
    return {"dataset_id": document.dataset_id, "document_id": document.id}


@pytest.mark.requirement("The work on the platform's tables", "clean a document")
@pytest.mark.requirement(
    "Clean-up",
    "of one document: vectors, keywords, child chunks, segments, images, source file, metadata bindings, and the rest",
)
async def test_everything_of_the_document_goes_and_nothing_else(site: Site) -> None:
    """Rows of every table, vectors, source file and image are deleted, and the result has their numbers.

    A neighbour keeps everything. A repetition finds nothing.
    """
    dataset = await site.add_dataset()
    neighbour = await add_full(site, dataset)
    kept, kept_files = await left(site, **_of(neighbour)), stored(site)
    document = await add_full(site, dataset)
    had = await left(site, **_of(document))
    assert set(had) > {model.__tablename__ for model in DOCUMENT_TABLES}
    await site.delete(Document, id=document.id)

    result = await site.run(clean_document, site.document_deleted(document, source_file(document)))

    assert result == {"done": True, "removed": {**had, "files": 1, "images": 1}}
    assert await left(site, **_of(document)) == {}
    assert await left(site, **_of(neighbour)) == kept
    assert stored(site) == kept_files
    assert await site.count(UploadFile) == 2
    assert await site.run(clean_document, site.document_deleted(document, source_file(document))) == NOTHING


@pytest.mark.requirement(
    "Clean-up",
    "of one document: vectors, keywords, child chunks, segments, images, source file, metadata bindings, and the rest",
)
async def test_what_no_segment_knows_goes_too(site: Site) -> None:
    """Segments were deleted without the rest. Child chunks and vectors are found by the document's id."""
    document = await add_full(site, await site.add_dataset())
    await site.delete(DocumentSegment, document_id=document.id)
    await site.delete(Document, id=document.id)
    had = await left(site, **_of(document))
    assert had["vectors"] == had["child_chunks"] == 3

    await site.run(clean_document, site.document_deleted(document))

    assert await left(site, **_of(document)) == {}


async def test_a_node_id_of_another_form_harms_nothing(site: Site) -> None:
    """The platform's column may contain any text or null. Such rows are deleted as the others."""
    document = await add_full(site, await site.add_dataset())
    async with site.transaction() as session:
        await session.execute(update(DocumentSegment).values(index_node_id="no-uuid"))
        await session.execute(update(ChildChunk).values(index_node_id=None))
    await site.delete(Document, id=document.id)

    await site.run(clean_document, site.document_deleted(document))

    assert await left(site, **_of(document)) == {}


@pytest.mark.requirement("Clean-up", "a check that nothing is left")
async def test_what_is_left_is_found(site: Site) -> None:
    """The rows of one table at a time stay without an error. The clean-up names the table and the number of rows."""
    dataset = await site.add_dataset()
    document = await add_full(site, dataset)
    had = await left(site, **_of(document))
    await site.delete(Document, id=document.id)
    deletion = site.document_deleted(document, source_file(document))
    expected = {name: f"{had[name]} {name}" for name in (model.__tablename__ for model in DOCUMENT_TABLES)}
    expected["upload_files"] = "1 images, 1 files"
    expected[table_name(site.collection(dataset.id))] = f"{had['vectors']} vectors"

    for table, words in expected.items():
        said = f"the clean-up of document {document.id} has ended, but these are left: {words}"
        assert await leftover_error(site, deletion, table) == said
        assert await left(site, **_of(document)) == had
    await site.run(clean_document, deletion)
    assert await left(site, **_of(document)) == {}


@pytest.mark.requirement("Clean-up", "a check that nothing is left")
async def test_a_keyword_that_is_left_is_found(site: Site) -> None:
    """The same for a table that cannot be changed."""
    document = await add_full(site, await site.add_dataset(indexing_technique="economy"))
    await site.delete(Document, id=document.id)
    said = await leftover_error(site, site.document_deleted(document), "dataset_keyword_tables", on="update")
    assert said.endswith("has ended, but these are left: 3 keyword nodes")


@pytest.mark.requirement("The work on the platform's tables", "a clean-up whose row still stands touches nothing")
async def test_a_document_that_still_stands_is_not_touched(site: Site) -> None:
    """Published too early, or the DELETE was rolled back: it retries with reason row-still-exists.

    Nothing is deleted.
    """
    document = await add_full(site, await site.add_dataset())
    before, files_before = await left(site, **_of(document)), stored(site)

    with pytest.raises(Retry) as asked:
        await site.run(clean_document, site.document_deleted(document, source_file(document)))

    assert asked.value.reason == Reason.ROW_STILL_EXISTS
    assert await left(site, **_of(document)) == before
    assert stored(site) == files_before


async def test_clean_up_before_the_late_index_request(site: Site) -> None:
    """The events arrive in the wrong order. The request finds no document and writes nothing."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    await site.delete(Document, id=document.id)
    await site.run(clean_document, site.document_deleted(document))

    assert await site.run(index_document, site.request(document)) == {"skipped": "the document is gone"}
    assert await left(site, **_of(document)) == {}


async def test_it_works_when_the_dataset_went_first(site: Site) -> None:
    """There is no dataset row and no tenant in the event. The dataset's id finds the collection."""
    dataset = await site.add_dataset()
    document = await add_full(site, dataset)
    await site.delete(Dataset, id=dataset.id)
    await site.delete(Document, id=document.id)

    event = site.document_deleted(document, source_file(document)).model_copy(update={"tenant_id": None})
    await site.run(clean_document, event)

    assert await left(site, **_of(document)) == {}
    assert stored(site) == set()


async def test_a_document_that_was_never_indexed(site: Site) -> None:
    """There is no collection and no segment. The clean-up has nothing to do and succeeds."""
    document = await site.add_document(await site.add_dataset(), b"text")
    await site.delete(Document, id=document.id)
    assert await site.run(clean_document, site.document_deleted(document)) == NOTHING


@pytest.mark.requirement(
    "Clean-up",
    "of one document: vectors, keywords, child chunks, segments, images, source file, metadata bindings, and the rest",
)
async def test_only_images_of_the_document_itself_go(site: Site) -> None:
    """Extracted images are deleted, in any spelling of the link, also those of a deleted document.

    A user's upload and images of another tenant or document stay. A link to a file that is not an image has no effect.
    """
    dataset = await site.add_dataset()
    other = await site.add_document(dataset, b"text")
    own, second = [await image(site) for _ in range(2)]
    others = [await image(site, found_in=other.id), await image(site, folder="upload_files"), await image(site)]
    others[-1].tenant_id = str(uuid4())
    former = await image(site, found_in=str(uuid4()))
    await site.add(own, second, former, *others)
    links = [f"http://host/files/{file.id}/file-preview" for file in (own, former, *others)]
    links += [
        f"/files/{second.id.upper()}/image-preview?x=1",
        f"/files/{uuid4()}/file-preview",
        "/files/x/file-preview",
    ]
    document = await site.add_document(dataset, " ".join(links).encode())
    await site.run(index_document, site.request(document))
    await site.delete(Document, id=document.id)

    await site.run(clean_document, site.document_deleted(document))

    async with site.transaction() as session:
        kept = set(await session.scalars(select(UploadFile.id).where(UploadFile.extension == "png")))
    assert kept == {file.id for file in others}
    assert {key for key in stored(site) if key.endswith(".png")} == {file.key for file in others}


async def test_a_file_of_another_tenant_stays(site: Site) -> None:
    """An event cannot delete a file of another tenant."""
    document = await site.add_document(await site.add_dataset(), b"text")
    foreign = await image(site, folder="upload_files")
    foreign.tenant_id = str(uuid4())
    await site.add(foreign)
    await site.delete(Document, id=document.id)

    assert await site.run(clean_document, site.document_deleted(document, foreign.id)) == {
        **NOTHING,
        "kept": {"files": 1},
    }

    assert await site.count(UploadFile, id=foreign.id) == 1
    assert await site.platform.storage.exists(foreign.key)


async def test_an_id_that_is_none_is_refused_for_good(site: Site) -> None:
    """Permanent, with the name of the field."""
    document = await site.add_document(await site.add_dataset(), b"text")
    event = site.document_deleted(document, file_id="../../etc/passwd")
    with pytest.raises(Permanent, match="file_id"):
        await site.run(clean_document, event)


@pytest.mark.requirement("Clean-up", "killed at any statement")
@pytest.mark.parametrize("technique", ["high_quality", "economy"])
async def test_a_worker_killed_at_any_statement(site: Site, technique: str) -> None:
    """The neighbour always keeps everything. The last repetition leaves nothing."""
    dataset = await site.add_dataset(indexing_technique=technique)
    neighbour = await add_full(site, dataset)
    kept, kept_files = await left(site, **_of(neighbour)), stored(site)
    document = await add_full(site, dataset)
    await site.delete(Document, id=document.id)

    async def check(_: int) -> None:
        assert await left(site, **_of(neighbour)) == kept
        assert stored(site) >= kept_files

    assert await crash_at_each_statement(site, site.document_deleted(document, source_file(document)), check) > 20

    assert await left(site, **_of(document)) == {}
    assert await left(site, **_of(neighbour)) == kept
    assert stored(site) == kept_files
    assert await site.count(DatasetMetadataBinding) == 1
