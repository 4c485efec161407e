"""Large deletions are done in bounded steps. Each costs as much as the rows that it deletes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from schemas import DocumentDeleted, Event
from streams.agents.knowledge.document_indexing import clean_document
from streams.dify.cleanup import delete as delete_module
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment
from streams.dify.uploads import files
from tests.support.platform.cleanup_steps import add_full, image, left, settle, source_file, stored
from tests.support.platform.handler_runs import Site, open_site


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.requirement("Clean-up", "of any size, in bounded steps that read no whole table")
async def test_a_large_document_goes_in_bounded_steps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child chunks first, then segments with their images, then the other rows: never more than the limit of a step."""
    monkeypatch.setattr(delete_module, "ROWS_PER_STEP", 3)
    monkeypatch.setattr(files, "FILES_PER_STEP", 2)
    dataset = await site.add_dataset()
    document = await add_full(site, dataset, paragraphs=8)
    (first, *_) = await site.segments(document.id)
    await site.add(*(_child(first) for _ in range(7)))
    await site.add(*[await image(site, found_in=document.id) for _ in range(5)])
    had = await left(site, dataset_id=dataset.id, document_id=document.id)
    await site.delete(Document, id=document.id)
    event = site.document_deleted(document, source_file(document))

    results = await settle(site, event)

    removed: dict[str, int] = {}
    for result in results:
        for name, count in result["removed"].items():
            assert count <= (2 if name == "images" else 6 if name == "vectors" else 3), result
            removed[name] = removed.get(name, 0) + count
    assert [result["done"] for result in results] == [False] * (len(results) - 1) + [True]
    assert removed == {**had, "files": 1, "images": 6}
    assert len(results) > 8
    assert await left(site, dataset_id=dataset.id, document_id=document.id) == {}
    assert stored(site) == set()


async def test_a_step_asks_for_the_next_of_the_same_document(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next step is a new event with the same content and the tenant that was found."""
    monkeypatch.setattr(delete_module, "ROWS_PER_STEP", 2)
    document = await add_full(site, await site.add_dataset(), paragraphs=3)
    await site.published()
    await site.delete(Document, id=document.id)
    event = site.document_deleted(document).model_copy(update={"tenant_id": None})

    await site.run(clean_document, event)

    (second,) = await site.published()
    assert isinstance(second, DocumentDeleted)
    assert second.event_id != event.event_id
    assert second == event.model_copy(update={"event_id": second.event_id, "tenant_id": site.tenant_id})


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


_MANY = text(
    """
    insert into document_segments (
        tenant_id, dataset_id, document_id, position, content, word_count, tokens, hit_count, index_node_id, created_by
    )
    select :tenant, :dataset, :document, number, repeat('word ', 20), 1, 1, 0, gen_random_uuid(), :tenant
    from generate_series(1, :count) as number
    """
)
_READ_WHOLE = text("select relname, seq_tup_read from pg_stat_user_tables where relname = any(:tables)")
_TABLES = ["document_segments", "child_chunks", "upload_files"]


@pytest.mark.requirement("Clean-up", "of any size, in bounded steps that read no whole table")
@pytest.mark.parametrize("whole_dataset", [True, False])
async def test_no_step_reads_a_whole_table(site: Site, *, whole_dataset: bool) -> None:
    """There are thousands of segments, and as many of others. PostgreSQL reports no sequential reads."""
    scenes = []
    for _ in range(2):
        dataset = await site.add_dataset()
        document = await add_full(site, dataset)
        owner = {"tenant": site.tenant_id, "dataset": dataset.id, "document": document.id}
        async with site.transaction() as session:
            await session.execute(_MANY, {**owner, "count": 21_000})
        scenes.append((dataset, document))
    async with site.transaction() as session:
        await session.execute(text("analyze"))
    dataset, document = scenes[0]
    deletion: Event = site.document_deleted(document)
    if whole_dataset:
        deletion = site.dataset_deleted(dataset)
        await site.delete(Dataset, id=dataset.id)
    else:
        await site.delete(Document, id=document.id)
    before = await _read_whole(site)

    assert len(await settle(site, deletion)) == 3

    assert await _read_whole(site) == before
    assert await left(site, **deletion.model_dump(include={"dataset_id", "document_id"})) == {}


async def _read_whole(site: Site) -> dict[str, int]:
    async with site.transaction() as session:
        await session.execute(text("select pg_stat_force_next_flush()"))
    async with site.transaction() as session:
        rows = await session.execute(_READ_WHOLE, {"tables": _TABLES})
        return {row.relname: row.seq_tup_read for row in rows}
