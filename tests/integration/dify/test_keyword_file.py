"""A keyword table that the platform stores as a file."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.dify.keywords.file import keyword_file
from streams.dify.models import Dataset, DatasetKeywordTable, Document
from streams.storage import FileMissingError
from tests.support.platform.cleanup_steps import crash_at_each_statement, settle
from tests.support.platform.handler_runs import CrashError, Site, open_site

LEAVE = b"Everyone has thirty days of holiday in a year."
PRINTER = b"The printer eats green paper."
PAPER = b"Paper is kept in the cellar."


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


async def _store_as_file(site: Site, *contents: bytes) -> tuple[Dataset, list[Document]]:
    """Create an economy dataset with indexed documents, and store its table as a file, as the platform does."""
    dataset = await site.add_dataset(indexing_technique="economy")
    documents = [await site.add_document(dataset, content) for content in contents]
    for document in documents:
        await site.run(index_document, site.request(document))
    async with site.transaction() as session:
        row = await _row(site, dataset)
        session.add(row)
        table, row.keyword_table, row.data_source_type = row.keyword_table, "", "file"
    await site.platform.storage.write(keyword_file(site.tenant_id, dataset.id), table.encode())
    return dataset, documents


async def _row(site: Site, dataset: Dataset) -> DatasetKeywordTable:
    async with site.transaction() as session:
        query = select(DatasetKeywordTable).where(DatasetKeywordTable.dataset_id == dataset.id)
        return (await session.scalars(query)).one()


async def _keywords(site: Site, dataset: Dataset) -> set[str]:
    """Return the keywords of the row, which contains the table by now."""
    row = await _row(site, dataset)
    assert row.data_source_type == "database"
    return set(json.loads(row.keyword_table)["__data__"]["table"])


async def _file_is_there(site: Site, dataset: Dataset) -> bool:
    return await site.platform.storage.exists(keyword_file(site.tenant_id, dataset.id))


@pytest.mark.requirement("Clean-up", "a keyword table kept as a file")
async def test_indexing_takes_it_into_the_row(site: Site) -> None:
    """The content of the file stays and new keywords are added. The next writer of the table deletes the file."""
    dataset, _ = await _store_as_file(site, LEAVE)
    new = await site.add_document(dataset, PRINTER)
    await site.run(index_document, site.request(new))
    assert await _keywords(site, dataset) >= {"holiday", "printer"}

    await site.run(index_document, site.request(await site.add_document(dataset, PAPER)))

    assert await _keywords(site, dataset) >= {"holiday", "printer", "cellar"}
    assert not await _file_is_there(site, dataset)


@pytest.mark.requirement(
    "Clean-up",
    "of one document: vectors, keywords, child chunks, segments, images, source file, metadata bindings, and the rest",
)
async def test_clean_up_takes_it_into_the_row(site: Site) -> None:
    """Without the keywords of the deleted document, with those of the other one."""
    dataset, (leave, printer) = await _store_as_file(site, LEAVE, PRINTER)
    await site.delete(Document, id=leave.id)

    (result,) = await settle(site, site.document_deleted(leave))

    assert result["removed"]["keyword nodes"] == 1
    found = await _keywords(site, dataset)
    assert "printer" in found
    assert "holiday" not in found
    await site.delete(Document, id=printer.id)
    await settle(site, site.document_deleted(printer))
    assert await _keywords(site, dataset) == set()
    assert not await _file_is_there(site, dataset)


@pytest.mark.requirement("Clean-up", "a keyword table kept as a file")
async def test_a_crash_before_any_statement_loses_nothing(site: Site) -> None:
    """While the row refers to a file, the file exists and is complete."""
    dataset, (leave, _) = await _store_as_file(site, LEAVE, PRINTER)
    key = keyword_file(site.tenant_id, dataset.id)
    whole = await site.platform.storage.read(key)
    await site.delete(Document, id=leave.id)

    async def check(_: int) -> None:
        assert (await _row(site, dataset)).data_source_type == "file"
        assert await site.platform.storage.read(key) == whole

    assert await crash_at_each_statement(site, site.document_deleted(leave), check) > 20
    assert "printer" in await _keywords(site, dataset)


@pytest.mark.requirement("Clean-up", "a keyword table kept as a file")
async def test_a_crash_in_any_step_of_an_indexing_loses_nothing(site: Site) -> None:
    """The same during an indexing, before each of its commits."""
    dataset, _ = await _store_as_file(site, LEAVE)
    new = await site.add_document(dataset, PRINTER)
    step, crashed = 0, True
    while crashed:
        step += 1

        async def kill(committing: int, at: int = step) -> None:
            if committing == at:
                raise CrashError

        try:
            await site.run(index_document, site.request(new), before_commit=kill)
            crashed = False
        except CrashError:
            assert await _file_is_there(site, dataset) or await _keywords(site, dataset) >= {"holiday"}
    assert step > 3
    assert await _keywords(site, dataset) >= {"holiday", "printer"}


async def test_a_file_that_was_never_written_is_an_empty_table(site: Site) -> None:
    """The platform creates the row first."""
    dataset = await site.add_dataset(indexing_technique="economy")
    await site.add(DatasetKeywordTable(dataset_id=dataset.id, keyword_table="", data_source_type="file"))
    await site.run(index_document, site.request(await site.add_document(dataset, LEAVE)))
    assert "holiday" in await _keywords(site, dataset)


@pytest.mark.requirement("Clean-up", "a keyword table kept as a file")
async def test_a_file_that_is_lost_is_not_taken_for_an_empty_one(site: Site) -> None:
    """The table has documents. Indexing fails and names the file; a clean-up has nothing to remove and succeeds."""
    dataset, (leave, _) = await _store_as_file(site, LEAVE, PAPER)
    key = keyword_file(site.tenant_id, dataset.id)
    await site.platform.storage.delete(key)
    with pytest.raises(FileMissingError, match=key):
        await site.run(index_document, site.request(await site.add_document(dataset, PRINTER)))

    await site.delete(Document, id=leave.id)
    await site.run(clean_document, site.document_deleted(leave))
    assert (await _row(site, dataset)).data_source_type == "file"
