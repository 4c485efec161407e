"""Economy datasets: segments are found by keywords, and have no vectors."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.delivery import Permanent
from streams.dify.indexing import load
from streams.dify.keywords.extract import KeywordRequest, keywords_of
from streams.dify.keywords.file import keyword_file
from streams.dify.models import ChildChunk, Dataset, DatasetKeywordTable, Document, DocumentSegment
from streams.dify.search import passages
from tests.support.platform.cleanup_steps import deleted_after_each_step, settle
from tests.support.platform.handler_runs import Site, open_site, prose

LEAVE = b"Everyone has thirty days of holiday in a year. Holiday is asked for by e-mail."
SMALL = {"segmentation": {"separator": "\\n\\n", "max_tokens": 400}}
PRINTER = b"The printer on the second floor eats green paper only."


@pytest.fixture
async def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(load, "GROUP_SIZE", 4)
    async with open_site(database_url, tmp_path) as opened:
        yield opened


async def table(site: Site, dataset: Dataset) -> dict[str, list[str]]:
    """Return the dataset's keyword table, after checking the platform's form; {} if there is no row."""
    async with site.transaction() as session:
        kept = await session.scalar(
            select(DatasetKeywordTable.keyword_table).where(DatasetKeywordTable.dataset_id == dataset.id)
        )
    if kept is None:
        return {}
    whole = json.loads(kept)
    found: dict[str, list[str]] = whole["__data__"].pop("table")
    assert whole == {"__type__": "keyword_table", "__data__": {"index_id": dataset.id, "summary": None}}
    return found


async def expected(site: Site, *documents: Document) -> dict[str, list[str]]:
    """Return the expected table, from the segments' own keywords."""
    nodes: dict[str, set[str]] = {}
    for document in documents:
        for segment in await site.segments(document.id):
            for keyword in segment.keywords or []:
                nodes.setdefault(keyword, set()).add(segment.index_node_id or "")
    return {keyword: sorted(found) for keyword, found in nodes.items()}


@pytest.mark.requirement("Embedding and loading", "economy: keywords in segments and table; a question finds them")
async def test_a_document_is_found_by_its_keywords(site: Site) -> None:
    """Keywords are in the segments and in the table, in the platform's form.

    There is no vector, collection or token count.
    """
    dataset = await site.add_dataset(indexing_technique="economy", keyword_number=3)
    document = await site.add_document(dataset, LEAVE, name="leave.txt")
    other = await site.add_document(dataset, PRINTER)
    for one in (document, other):
        assert await site.run(index_document, site.request(one)) == {"segments": 1, "tokens": 0}

    (segment,) = await site.segments(document.id)
    assert segment.keywords == keywords_of(KeywordRequest((LEAVE.decode(),), 3))[0]
    assert len(segment.keywords) == 3
    assert (segment.status, segment.enabled) == ("completed", True)
    assert (await site.document(document.id)).indexing_status == "completed"
    assert await table(site, dataset) == await expected(site, document, other)
    assert await site.vectors(dataset.id) == 0
    assert await site.count(Dataset, id=dataset.id, index_struct=None) == 1
    async with site.transaction() as session:
        found = await passages(session, site.platform, dataset.id, "Everyone likes a holiday", 3)
        assert await passages(session, site.platform, dataset.id, "unrelated", 3) == []
        assert await passages(session, site.platform, dataset.id, "", 3) == []
    assert [passage.document for passage in found] == ["leave.txt"]
    assert 0 < found[0].score <= 1


@pytest.mark.requirement(
    "Embedding and loading",
    "economy: no rewrite race; resume; delete wins; an error fails the attempt",
)
async def test_a_crash_after_any_step_is_made_good(site: Site) -> None:
    """The next attempt ends with the same table as an undisturbed one."""
    step, crashed = 0, True
    while crashed:
        step += 1
        dataset = await site.add_dataset(indexing_technique="economy")
        document = await site.add_document(dataset, prose(8))
        crashed = await site.crashes(index_document, site.request(document), step)
        if crashed:
            await site.run(index_document, site.request(document))
        segments = await site.segments(document.id)
        assert {segment.status for segment in segments} == {"completed"}
        assert all(segment.keywords for segment in segments)
        assert await table(site, dataset) == await expected(site, document)
    assert step > 6


@pytest.mark.requirement(
    "Embedding and loading",
    "economy: no rewrite race; resume; delete wins; an error fails the attempt",
)
async def test_delete_wins_between_any_two_steps(site: Site) -> None:
    """Deleted after the first, second, … step: the clean-up removes all keywords of this document only."""
    dataset = await site.add_dataset(indexing_technique="economy")
    neighbour = await site.add_document(dataset, LEAVE)
    await site.run(index_document, site.request(neighbour))
    kept = await table(site, dataset)
    steps = 0
    async for document in deleted_after_each_step(site, dataset):
        steps += 1
        assert await table(site, dataset) == kept
        assert await site.count(DocumentSegment, document_id=document.id) == 0
    assert steps > 5


@pytest.mark.requirement(
    "Embedding and loading",
    "economy: no rewrite race; resume; delete wins; an error fails the attempt",
)
async def test_many_documents_at_once_lose_no_keyword(site: Site) -> None:
    """Six documents write the same table while two others are removed: every entry exists, and no other."""
    dataset = await site.add_dataset(indexing_technique="economy")
    gone = [await site.add_document(dataset, prose(6)) for _ in range(2)]
    for document in gone:
        await site.run(index_document, site.request(document))
        await site.delete(Document, id=document.id)
    documents = [await site.add_document(dataset, prose(number + 2)) for number in range(6)]

    await asyncio.wait_for(
        asyncio.gather(
            *(site.run(index_document, site.request(document)) for document in documents),
            *(site.run(clean_document, site.document_deleted(document)) for document in gone),
        ),
        60,
    )

    assert await table(site, dataset) == await expected(site, *documents)


async def test_indexing_anew_exchanges_the_keywords(site: Site) -> None:
    """The keywords of the old content are removed."""
    dataset = await site.add_dataset(indexing_technique="economy")
    document = await site.add_document(dataset, LEAVE)
    await site.run(index_document, site.request(document))
    async with site.transaction() as session:
        row = await session.get_one(Document, document.id)
        row.indexing_status = "waiting"
        key = await session.scalar(text("select key from upload_files where id::text = :id"), {"id": _file(row)})
    await site.platform.storage.write(key, PRINTER)

    await site.run(index_document, site.request(document))

    assert "holiday" not in await table(site, dataset)
    assert "printer" in await table(site, dataset)
    assert await table(site, dataset) == await expected(site, document)


def _file(document: Document) -> str:
    return str(json.loads(document.data_source_info or "")["upload_file_id"])


async def test_a_deleted_dataset_leaves_no_table(site: Site) -> None:
    """Its row is deleted."""
    dataset = await site.add_dataset(indexing_technique="economy")
    document = await site.add_document(dataset, LEAVE)
    await site.run(index_document, site.request(document))
    await site.delete(Dataset, id=dataset.id)
    await settle(site, site.dataset_deleted(dataset))
    assert await site.count(DatasetKeywordTable, dataset_id=dataset.id) == 0


@pytest.mark.requirement(
    "Embedding and loading",
    "economy: no rewrite race; resume; delete wins; an error fails the attempt",
)
async def test_an_error_in_the_keywords_fails_the_attempt(site: Site) -> None:
    """An invalid table is an error of the document, which does not complete without being searchable."""
    dataset = await site.add_dataset(indexing_technique="economy")
    await site.add(DatasetKeywordTable(dataset_id=dataset.id, keyword_table="", data_source_type="file"))
    await site.platform.storage.write(keyword_file(site.tenant_id, dataset.id), b"[]")
    document = await site.add_document(dataset, LEAVE)
    with pytest.raises(Permanent, match="is not a keyword table of the platform") as refusal:
        await site.run(index_document, site.request(document))
    await site.die(index_document, site.request(document), refusal.value)
    assert (await site.document(document.id)).indexing_status == "error"


@pytest.mark.requirement("Embedding and loading", "hierarchical and question documents in economy datasets")
async def test_a_hierarchical_document_is_found_by_its_parents_keywords(site: Site) -> None:
    """Parents have keywords. Child chunks have none and are completed with them. Clean-up deletes both."""
    dataset = await site.add_dataset(indexing_technique="economy")
    rules = {"parent_mode": "paragraph", **SMALL, "subchunk_segmentation": {"separator": ". ", "max_tokens": 100}}
    document = await site.add_document(
        dataset, prose(3), mode="hierarchical", rules=rules, doc_form="hierarchical_model"
    )
    await site.run(index_document, site.request(document))

    parents = await site.segments(document.id)
    assert len(parents) == 3
    assert all(parent.keywords and parent.status == "completed" and parent.enabled for parent in parents)
    assert await site.count(ChildChunk, document_id=document.id, completed_at=None) == 0
    assert await site.count(ChildChunk, document_id=document.id) > 3
    assert await table(site, dataset) == await expected(site, document)
    async with site.transaction() as session:
        (best, *_) = await passages(session, site.platform, dataset.id, "room 14", 3)
    assert best.text == parents[1].content

    await site.delete(Document, id=document.id)
    await settle(site, site.document_deleted(document))
    assert await table(site, dataset) == {}
    assert await site.count(ChildChunk, document_id=document.id) == 0
