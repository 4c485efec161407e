"""The rows of a CSV file become segments, once, and a person learns which rows could not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import SegmentDeleted, SegmentsImportRequested
from streams.agents.knowledge.segment_import import import_segments
from streams.agents.knowledge.segment_state import clean_segments
from streams.delivery import Permanent, Retry
from streams.delivery.handler import JSON
from streams.dify.errors import UploadFileMissingError, VectorStoreError
from streams.dify.imports import segments as steps
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment, UploadFile
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.dify.vector_stores.port import AnnotationEntry, Entry
from streams.settings import Settings
from tests.support.platform.app_rows import wait_for_lock_or_end
from tests.support.platform.reindexing import Place, open_place

SECTION = "The whole domain"
ROWS = (
    'content,answer\n"Cellar 1 holds old wine.\nIt is cold.",One\n,Two\n\nCellar 3 holds new wine.,Three\nCellar 4,\n'
)
"""Row 2, which has two lines, and row 5 are complete; row 3 has no content, row 6 no answer; row 4 is blank."""


@pytest.fixture
async def place(settings: Settings, tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(settings, tmp_path / "files") as opened:
        yield opened


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps from a short file."""
    monkeypatch.setattr(steps, "ROWS_PER_STEP", 1)


async def _file(place: Place, content: bytes | str) -> UploadFile:
    file_id = str(uuid4())
    key = f"upload_files/{place.site.tenant_id}/{file_id}.csv"
    await place.site.platform.storage.write(key, content if isinstance(content, bytes) else content.encode())
    file = UploadFile(
        id=file_id,
        tenant_id=place.site.tenant_id,
        storage_type="local",
        key=key,
        name="rows.csv",
        size=len(content),
        extension="csv",
        created_by=str(uuid4()),
    )
    await place.site.add(file)
    return file


async def _request(place: Place, document: Document, content: bytes | str = ROWS) -> SegmentsImportRequested:
    """Return the event of a job whose state is waiting, as the platform's API sets it."""
    job_id = str(uuid4())
    place.redis.set(f"segment_batch_import_{job_id}", "waiting")
    return SegmentsImportRequested(
        tenant_id=place.site.tenant_id,
        job_id=job_id,
        document_id=document.id,
        dataset_id=document.dataset_id,
        upload_file_id=(await _file(place, content)).id,
        account_id=str(uuid4()),
    )


def _state(place: Place, event: SegmentsImportRequested) -> tuple[Any, bool]:
    """Return the state of the job, and whether it expires."""
    key = f"segment_batch_import_{event.job_id}"
    return place.redis.get(key), 0 < int(str(place.redis.ttl(key))) <= 600


async def _rows(place: Place, document: Document) -> list[Any]:
    return [
        (one.position, one.content, one.answer, one.word_count, one.status, one.enabled, one.id)
        for one in await place.site.segments(document.id)
    ]


@pytest.mark.requirement(SECTION, "segments.import-requested: usable rows become segments, the others are reported")
@pytest.mark.parametrize("kind", ["text", "children", "keywords"])
async def test_rows_become_segments(place: Place, kind: str) -> None:
    """At the end of the document, with word_count, person, vectors or keywords; a repetition changes nothing."""
    dataset, document = await place.indexed(kind)
    old = await place.site.segments(document.id)
    event = await _request(place, document)

    result = await place.site.run(import_segments, event)

    assert result == {"segments": 3, "refused": 1, "rows": [{"row": 3, "reason": "the first column is empty"}]}
    assert _state(place, event) == ("completed", True)
    rows = await place.site.segments(document.id)
    new = rows[len(old) :]
    assert [one.content for one in new] == [
        "Cellar 1 holds old wine.\nIt is cold.",
        "Cellar 3 holds new wine.",
        "Cellar 4",
    ]
    assert [one.position for one in rows] == list(range(1, len(rows) + 1))
    assert {(one.status, one.enabled, one.created_by, one.answer) for one in new} == {
        ("completed", True, event.account_id, None)
    }
    assert all(one.word_count == len(one.content) and one.completed_at for one in new)
    assert all((one.tokens > 0) is (kind != "keywords") for one in new)
    after = await place.site.document(document.id)
    assert after.word_count == (document.word_count or 0) + sum(one.word_count for one in new)
    nodes = await place.nodes(document)
    assert nodes == await place.wanted(document)
    if kind == "children":
        assert await place.site.count(ChildChunk, segment_id=new[0].id) >= 1

    before = await _rows(place, document)
    again = event.model_copy(update={"event_id": (await _request(place, document)).event_id})
    assert await place.site.run(import_segments, again) == result
    assert await _rows(place, document) == before
    assert await place.nodes(document) == nodes
    assert (await place.site.document(document.id)).word_count == after.word_count
    assert dataset.id == document.dataset_id


@pytest.mark.requirement(SECTION, "segments.import-requested: questions and answers, words of both are counted")
async def test_questions_and_answers(place: Place) -> None:
    _, document = await place.indexed()
    await place.set_document(document, doc_form="qa_model")
    event = await _request(place, document)
    result = await place.site.run(import_segments, event)
    assert result == {
        "segments": 2,
        "refused": 2,
        "rows": [
            {"row": 3, "reason": "the first column is empty"},
            {"row": 6, "reason": "the second column, the answer, is empty"},
        ],
    }
    *_, third = await place.site.segments(document.id)
    assert (third.answer, third.word_count) == ("Three", len("Cellar 3 holds new wine.") + len("Three"))


@pytest.mark.requirement(SECTION, "segments.import-requested: a worker that dies at any step is continued")
async def test_a_crash_at_any_step(place: Place) -> None:
    """No row twice."""
    _, document = await place.indexed()
    old, step, died = len(await place.site.segments(document.id)), 0, True
    while died:
        step += 1
        event = await _request(place, document)
        died = await place.site.crashes(import_segments, event, step)
        await place.site.run(import_segments, event)
        rows = await place.site.segments(document.id)
        assert len(rows) == old + 3
        assert len({one.position for one in rows}) == len(rows)
        assert await place.nodes(document) == await place.wanted(document)
        old = len(rows)
    assert step > 5


@pytest.mark.requirement(SECTION, "segments.import-requested: what a person deletes meanwhile does not come back")
@pytest.mark.parametrize("deleted", [0, 1])
@pytest.mark.parametrize("step", [2, 3])
async def test_a_deleted_segment_does_not_come_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: int, deleted: int
) -> None:
    """The worker dies after the first or the last rows were inserted. The first or the second row is deleted then."""
    monkeypatch.setattr(steps, "ROWS_PER_STEP", 2)
    _, document = await place.indexed()
    old = len(await place.site.segments(document.id))
    event = await _request(place, document)
    assert await place.site.crashes(import_segments, event, step)
    rows = await place.site.segments(document.id)
    gone = rows[old + deleted]
    await place.site.delete(DocumentSegment, id=gone.id)
    assert len(rows) == old + step
    await place.site.run(import_segments, event)
    rows = await place.site.segments(document.id)
    assert len(rows) == old + 2
    assert gone.id not in {one.id for one in rows}
    assert {one.status for one in rows} == {"completed"}
    assert await place.nodes(document) == await place.wanted(document)


@pytest.mark.requirement(SECTION, "segments.import-requested: two imports into one document take no position twice")
async def test_two_imports_at_the_same_time(place: Place) -> None:
    """The second runs completely between two steps of the first, which the lease of the document forbids."""
    _, document = await place.indexed()
    first, second = [await _request(place, document) for _ in range(2)]

    async def between(step: int) -> None:
        if step == 2:
            await place.site.run(import_segments, second)

    await place.site.run(import_segments, first, after_step=between)
    rows = await place.site.segments(document.id)
    assert [one.position for one in rows] == list(range(1, len(rows) + 1))
    assert len(rows) == 9
    assert await place.nodes(document) == await place.wanted(document)


@pytest.mark.requirement(SECTION, "segments.import-requested: two imports into one document take no position twice")
async def test_two_imports_in_open_transactions(place: Place) -> None:
    """The first has inserted a row and not committed it. The second waits for the document's lock."""
    _, document = await place.indexed()
    first, second = [await _request(place, document) for _ in range(2)]
    started: list[asyncio.Task[JSON]] = []

    async def during(step: int) -> None:
        if step == 2:
            started.append(asyncio.create_task(place.site.run(import_segments, second)))
            await wait_for_lock_or_end(place.site, started[0])

    await place.site.run(import_segments, first, before_commit=during)
    await started[0]
    rows = await place.site.segments(document.id)
    assert [one.position for one in rows] == list(range(1, 10))


@pytest.mark.requirement(SECTION, "segments.import-requested: the job's key ends as error, whatever is wrong")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("content\n", "the CSV file has no usable row"),
        ("", "the CSV file has no usable row"),
        ("content\n \n", "row 2: the first column is empty"),
        (b"content\n\xff\xfe\x00", "cannot be read|binary"),
    ],
)
async def test_files_that_cannot_be_imported(place: Place, content: bytes | str, said: str) -> None:
    _, document = await place.indexed()
    before = await _rows(place, document)
    event = await _request(place, document, content)
    with pytest.raises(Permanent, match=said) as found:
        await place.site.run(import_segments, event)
    assert _state(place, event) == ("waiting", False)
    await place.site.die(import_segments, event, found.value)
    assert _state(place, event) == ("error", True)
    assert await _rows(place, document) == before


@pytest.mark.requirement(SECTION, "segments.import-requested: the job's key ends as error, whatever is wrong")
async def test_documents_that_cannot_get_segments(place: Place) -> None:
    """Deleted: nothing to do. Being indexed: later. Disabled, archived, failed, or the file of another: never."""
    _, document = await place.indexed()
    event = await _request(place, document)
    for columns, error in (
        ({"indexing_status": "indexing"}, Retry),
        ({"indexing_status": "error"}, Permanent),
        ({"indexing_status": "completed", "enabled": False}, Permanent),
        ({"enabled": True, "archived": True}, Permanent),
    ):
        await place.set_document(document, **columns)
        with pytest.raises(error):
            await place.site.run(import_segments, event)
    await place.set_document(document, archived=False)
    async with place.site.transaction() as session:
        (await session.get_one(UploadFile, event.upload_file_id)).tenant_id = str(uuid4())
    with pytest.raises(Permanent, match="another tenant"):
        await place.site.run(import_segments, event)
    await place.site.delete(UploadFile, id=event.upload_file_id)
    with pytest.raises(UploadFileMissingError):
        await place.site.run(import_segments, event)
    await place.site.delete(Document, id=document.id)
    assert await place.site.run(import_segments, event) == {"skipped": "the document is gone"}
    assert _state(place, event) == ("error", True)


@pytest.mark.requirement(SECTION, "segments.import-requested: the job's key ends as error, whatever is wrong")
async def test_events_that_are_wrong(place: Place) -> None:
    """An id that is none: the key ends as error. An event of another tenant: the key is not this tenant's."""
    _, document = await place.indexed()
    event = await _request(place, document)
    for change, state in (({"account_id": "x"}, "error"), ({"tenant_id": str(uuid4())}, "waiting")):
        place.redis.set(f"segment_batch_import_{event.job_id}", "waiting")
        wrong = event.model_copy(update=change)
        with pytest.raises(Permanent) as found:
            await place.site.run(import_segments, wrong)
        await place.site.die(import_segments, wrong, found.value)
        assert _state(place, event)[0] == state


class _Broken(PgVectorIndex):
    async def upsert(self, *_: object) -> None:
        raise VectorStoreError("no room")


@pytest.mark.requirement(SECTION, "segments.import-requested: segments without a vector say why")
async def test_a_store_that_fails(place: Place) -> None:
    """They have the status error and are not enabled. A replay of the dead letter completes them."""
    _, document = await place.indexed()
    old = len(await place.site.segments(document.id))
    broken = replace(place.site, platform=replace(place.site.platform, vectors=_Broken()))
    event = await _request(place, document)
    with pytest.raises(VectorStoreError) as found:
        await broken.run(import_segments, event)
    await broken.die(import_segments, event, found.value)
    rows = (await place.site.segments(document.id))[old:]
    assert {(one.status, one.enabled, one.error) for one in rows} == {("error", False, "no room")}
    await place.site.run(import_segments, event)
    assert await place.nodes(document) == await place.wanted(document)
    assert _state(place, event) == ("completed", True)


@pytest.mark.requirement(SECTION, "segments.import-requested: a deletion wins over an import")
async def test_a_deletion_at_each_step_wins(place: Place) -> None:
    """After the deletion of document or dataset, no further row or vector is written."""
    step = 0
    while True:
        step += 1
        dataset, document = await place.indexed()
        event = await _request(place, document)
        seen: list[tuple[int, int]] = []

        async def delete(done: int, at: int = step, of: Document = document, owner: Dataset = dataset) -> None:
            if done == at:
                await (place.site.delete(Document, id=of.id) if at % 2 else place.site.delete(Dataset, id=owner.id))
                seen.append(await _left(place, of))  # noqa: B023 - it runs within this iteration

        result = await place.site.run(import_segments, event, after_step=delete)
        if not seen:
            break
        assert [await _left(place, document)] == seen
        assert isinstance(result, dict)
        if "skipped" in result:
            assert _state(place, event) == ("error", True)
    assert step > 5


@pytest.mark.requirement(
    SECTION, "segments.import-requested: a segment that is deleted during the import has no vector"
)
@pytest.mark.parametrize("kind", ["text", "children", "keywords"])
async def test_a_segment_is_deleted_at_each_step(place: Place, kind: str) -> None:
    """Its clean-up runs at once, before the import goes on. The other segments are found."""
    _, document = await place.indexed(kind)
    step, happened = 0, True
    while happened:
        step += 1
        happened = False
        old = len(await place.site.segments(document.id))
        event = await _request(place, document)

        async def delete(done: int, at: int = step, first: int = old) -> None:
            nonlocal happened
            rows = await place.site.segments(document.id)
            if done == at and len(rows) > first:
                happened = True
                await place.site.delete(DocumentSegment, id=rows[first].id)
                await _clean(place, rows[first])
            happened = happened or done == at

        await place.site.run(import_segments, event, after_step=delete)
        assert await place.nodes(document) == await place.wanted(document)
        assert {one.status for one in await place.site.segments(document.id)} == {"completed"}
        assert _state(place, event) == ("completed", True)
    assert step > 5


@pytest.mark.requirement(
    SECTION, "segments.import-requested: a segment that is deleted during the import has no vector"
)
@pytest.mark.parametrize("kind", ["text", "children"])
async def test_a_segment_is_deleted_within_a_step(place: Place, kind: str) -> None:
    """The step has read the rows, and has not written their vectors. Deletion or clean-up waits for it."""
    _, document = await place.indexed(kind)
    old = len(await place.site.segments(document.id))
    deleting: list[asyncio.Task[None]] = []

    async def delete() -> None:
        rows = await place.site.segments(document.id)
        await place.site.delete(DocumentSegment, id=rows[old].id)
        await _clean(place, rows[old])

    class Slow(PgVectorIndex):
        async def upsert(
            self, session: AsyncSession, collection: str, entries: Sequence[Entry | AnnotationEntry]
        ) -> None:
            if not deleting:
                deleting.append(asyncio.create_task(delete()))
                await wait_for_lock_or_end(place.site, deleting[0])
            await super().upsert(session, collection, entries)

    slow = replace(place.site, platform=replace(place.site.platform, vectors=Slow()))
    await slow.run(import_segments, await _request(place, document))
    await deleting[0]
    assert await place.nodes(document) == await place.wanted(document)
    assert len(await place.site.segments(document.id)) == old + 2


async def _clean(place: Place, segment: DocumentSegment) -> None:
    """Do what follows when a person deletes a segment: the platform names its child chunks too."""
    async with place.site.transaction() as session:
        children = await session.scalars(select(ChildChunk.index_node_id).where(ChildChunk.segment_id == segment.id))
        child_ids = [node for node in children if node]
    cleaned = SegmentDeleted(
        tenant_id=segment.tenant_id,
        dataset_id=segment.dataset_id,
        document_id=segment.document_id,
        index_node_ids=[segment.index_node_id],
        child_node_ids=child_ids,
    )
    await place.site.run(clean_segments, cleaned)


async def _left(place: Place, document: Document) -> tuple[int, int]:
    async with place.site.transaction() as session:
        rows = (
            await session.scalars(select(DocumentSegment.id).where(DocumentSegment.document_id == document.id))
        ).all()
    return len(rows), len(await place.nodes(document))
