"""A document that was enabled is found completely; one that was disabled or archived is not found."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from schemas import DocumentDisabled, DocumentEnabled, SegmentDeleted, SegmentDisabled
from streams.agents.knowledge.document_indexing import clean_document
from streams.agents.knowledge.document_state import add_document_to_index, remove_document_from_index
from streams.agents.knowledge.segment_state import clean_segments, remove_segments_from_index
from streams.delivery import Permanent, Retry
from streams.delivery.handler import JSON
from streams.dify.errors import VectorStoreError
from streams.dify.indexing import load
from streams.dify.models import ChildChunk, DatasetAutoDisableLog, Document, DocumentSegment, utc_now
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.settings import Settings
from tests.support.platform.reindexing import Place, cases, open_place

SECTION = "The whole domain"
KINDS = pytest.mark.parametrize("kind", ["text", "children", "keywords"])
PERSON = str(uuid4())
Changed = type[DocumentSegment] | type[ChildChunk]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the slow tests once; `tests/crash/races/test_reindexing_races.py` has the other cases."""
    cases(metafunc, change=["segment disabled"], crashed=["text"])


@pytest.fixture
async def place(settings: Settings, tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(settings, tmp_path / "files") as opened:
        yield opened


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps from a short document."""
    monkeypatch.setattr(load, "GROUP_SIZE", 2)


async def _enabled(place: Place, document: Document) -> JSON:
    return await place.site.run(
        add_document_to_index, DocumentEnabled(tenant_id=place.site.tenant_id, document_id=document.id)
    )


async def _disabled(place: Place, document: Document) -> JSON:
    return await place.site.run(
        remove_document_from_index, DocumentDisabled(tenant_id=place.site.tenant_id, document_id=document.id)
    )


@pytest.mark.requirement(SECTION, "document.disabled: the index loses the document; repeated, nothing changes")
@pytest.mark.requirement(SECTION, "document.enabled: all complete segments are found again; repeated, nothing changes")
@KINDS
async def test_disabled_and_enabled_again(place: Place, kind: str) -> None:
    """Vectors and keywords go and come back, with child chunks. A neighbour and the other columns stay."""
    dataset, document = await place.indexed(kind)
    neighbour = await place.another(dataset, kind)
    kept, before = await place.nodes(neighbour), await place.nodes(document)
    key = f"document_{document.id}_indexing"
    assert len(before) > 1
    assert before == await place.wanted(document)

    await place.set_document(document, enabled=False, disabled_by=PERSON, disabled_at=utc_now())
    for _ in range(2):
        place.redis.set(key, "1")
        await _disabled(place, document)
        assert place.redis.get(key) is None
        assert await place.nodes(document) == set()
    segments = await place.site.segments(document.id)
    assert {(one.enabled, one.disabled_by, one.status) for one in segments} == {(False, None, "completed")}

    await place.site.add(
        DatasetAutoDisableLog(tenant_id=place.site.tenant_id, dataset_id=dataset.id, document_id=document.id)
    )
    await place.set_document(document, enabled=True, disabled_by=None, disabled_at=None)
    for _ in range(2):
        place.redis.set(key, "1")
        assert await _enabled(place, document) == {"segments": len(segments)}
        assert place.redis.get(key) is None
        assert await place.nodes(document) == before
    assert await place.site.count(DatasetAutoDisableLog) == 0
    assert all(one.enabled and one.disabled_at is None for one in await place.site.segments(document.id))
    assert (await place.site.document(document.id)).indexing_status == "completed"
    assert await place.nodes(neighbour) == kept


@pytest.mark.requirement(SECTION, "document.enabled: a segment that a person disabled stays disabled")
async def test_what_a_person_disabled_stays_disabled(place: Place) -> None:
    """A person disabled one segment; then the document was disabled and enabled again."""
    _, document = await place.indexed()
    first, *others = await place.site.segments(document.id)
    await place.disable_segment(first, PERSON)
    await place.set_document(document, enabled=False)
    await _disabled(place, document)
    await place.set_document(document, enabled=True)

    assert await _enabled(place, document) == {"segments": len(others)}

    assert await place.nodes(document) == {one.index_node_id for one in others}
    assert (await place.site.segments(document.id))[0].disabled_by == PERSON


@pytest.mark.requirement(SECTION, "document.enabled: a document that the platform's own task disabled is found again")
async def test_disabled_by_the_platforms_own_task(place: Place) -> None:
    """Its one statement has written the person who disabled the document into every segment."""
    _, document = await place.indexed()
    async with place.site.transaction() as session:
        await session.execute(
            update(DocumentSegment)
            .where(DocumentSegment.document_id == document.id)
            .values(enabled=False, disabled_at=utc_now(), disabled_by=PERSON)
        )

    await _enabled(place, document)

    assert await place.nodes(document) == await place.wanted(document)
    assert all(one.enabled for one in await place.site.segments(document.id))


@pytest.mark.requirement(SECTION, "document.enabled: also where the index was dropped and the segments are enabled")
@KINDS
async def test_the_index_was_dropped(place: Place, kind: str) -> None:
    """The clean-up of unused datasets drops the index, disables documents and leaves their segments enabled."""
    dataset, document = await place.indexed(kind)
    before = await place.nodes(document)
    await place.drop_index(dataset)
    assert await place.nodes(document) == set()

    await _enabled(place, document)

    assert await place.nodes(document) == before


@pytest.mark.requirement(
    SECTION, "document.enabled, document.disabled: two events that are swapped end as the row says"
)
async def test_swapped_events(place: Place) -> None:
    """The row under lock decides: a late event of the former state changes nothing."""
    _, document = await place.indexed()
    before = await place.nodes(document)
    assert await _disabled(place, document) == {"skipped": "the document is enabled"}
    assert await place.nodes(document) == before
    await place.set_document(document, archived=True)
    assert await _enabled(place, document) == {"skipped": "the document is archived"}
    await _disabled(place, document)
    await place.set_document(document, enabled=False)
    assert await _enabled(place, document) == {"skipped": "the document is archived"}
    await place.set_document(document, archived=False)
    assert await _enabled(place, document) == {"skipped": "the document is disabled"}
    assert await place.nodes(document) == set()


@pytest.mark.requirement(SECTION, "document.enabled: what changes at any step wins over the loading")
async def test_a_change_at_each_step_wins(place: Place, change: str) -> None:
    """After the event of the change the index has what the rows say. Nothing is written after the change."""
    dataset, step, happened = await place.site.add_dataset(), 0, True
    while happened:
        step += 1
        happened = False
        document = await place.another(dataset)
        *_, last = await place.site.segments(document.id)
        await place.set_document(document, enabled=False)
        await _disabled(place, document)
        await place.set_document(document, enabled=True)
        left: set[str] = set()

        async def act(done: int, at: int = step, of: Document = document, segment: DocumentSegment = last) -> None:
            nonlocal happened, left
            if done == at:
                happened = True
                await _change(place, change, of, segment)
                left = await place.nodes(of)

        event = DocumentEnabled(tenant_id=place.site.tenant_id, document_id=document.id)
        await place.site.run(add_document_to_index, event, after_step=act)
        if not happened:
            break
        if change.startswith("document"):
            assert await place.nodes(document) == left
        else:
            assert (last.index_node_id in await place.nodes(document)) is (last.index_node_id in left)
        await _follow(place, change, document, last)
        assert await place.nodes(document) == (await place.wanted(document) if change.startswith("segment") else set())
    assert step > 4


@pytest.mark.requirement(SECTION, "document.enabled: no one changes a segment between its check and its vector")
@pytest.mark.parametrize("kind", ["text", "children"])
async def test_a_segment_is_locked_while_its_vector_is_written(place: Place, kind: str) -> None:
    """A person who changes a segment or child chunk waits for the step that writes its vector, for no other step."""
    _, document = await place.indexed(kind)
    await place.set_document(document, enabled=False)
    await _disabled(place, document)
    await place.set_document(document, enabled=True)
    async with place.site.transaction() as session:
        segments = await session.scalars(select(DocumentSegment.id).where(DocumentSegment.document_id == document.id))
        children = await session.scalars(select(ChildChunk.id).where(ChildChunk.document_id == document.id))
        rows: list[tuple[Changed, str]] = [(DocumentSegment, one) for one in segments]
        rows += [(ChildChunk, one) for one in children]
    locked: list[set[str]] = []

    async def look(_step: int) -> None:
        locked.append({row_id for kind, row_id in rows if not await _can_change(place, kind, row_id)})

    event = DocumentEnabled(tenant_id=place.site.tenant_id, document_id=document.id)
    await place.site.run(add_document_to_index, event, before_commit=look)
    # The first step enables the segments, the second one reads them, the last one ends the loading.
    _, reading, *writing, last = locked
    assert reading == last == set()
    assert set().union(*writing) == {row_id for _, row_id in rows}
    assert all(writing)


async def _can_change(place: Place, kind: Changed, row_id: str) -> bool:
    try:
        async with place.site.transaction() as session:
            query = select(kind.id).where(kind.id == row_id)
            await session.execute(query.with_for_update(nowait=True, key_share=True))
    except OperationalError:
        return False
    return True


async def _change(place: Place, change: str, document: Document, segment: DocumentSegment) -> None:
    if change == "document disabled":
        await place.set_document(document, enabled=False)
    elif change == "document deleted":
        await place.site.delete(Document, id=document.id)
    elif change == "segment disabled":
        await place.disable_segment(segment, PERSON)
    else:
        await place.site.delete(DocumentSegment, id=segment.id)


async def _follow(place: Place, change: str, document: Document, segment: DocumentSegment) -> None:
    """Run the event that comes with the change."""
    of_document = {"tenant_id": place.site.tenant_id, "dataset_id": document.dataset_id, "document_id": document.id}
    if change == "document disabled":
        await _disabled(place, document)
    elif change == "document deleted":
        await place.site.run(clean_document, place.site.document_deleted(document))
    elif change == "segment disabled":
        await place.site.run(remove_segments_from_index, SegmentDisabled(**of_document, segment_ids=[segment.id]))
    else:
        await place.site.run(clean_segments, SegmentDeleted(**of_document, index_node_ids=[segment.index_node_id]))


@pytest.mark.requirement(SECTION, "document.enabled: a worker that dies at any step is continued")
async def test_a_crash_at_any_step(place: Place, crashed: str) -> None:
    step = 0
    died = True
    while died:
        step += 1
        _, document = await place.indexed(crashed)
        expected = await place.wanted(document)
        await place.set_document(document, enabled=False)
        await _disabled(place, document)
        await place.set_document(document, enabled=True)
        event = DocumentEnabled(tenant_id=place.site.tenant_id, document_id=document.id)
        died = await place.site.crashes(add_document_to_index, event, step)
        await place.site.run(add_document_to_index, event)
        assert await place.nodes(document) == expected
    assert step > 3


class _Broken(PgVectorIndex):
    async def upsert(self, *_: object) -> None:
        raise VectorStoreError("no room")

    async def delete_document(self, *_: object) -> int:
        raise VectorStoreError("no room")


@pytest.mark.requirement(SECTION, "document.enabled: a failure for good disables the document and says why")
async def test_a_failed_enabling(place: Place) -> None:
    """The status is error. The key in Redis is gone. The document can be enabled again, which repairs the status."""
    _, document = await place.indexed()
    site = replace(place.site, platform=replace(place.site.platform, vectors=_Broken()))
    event = DocumentEnabled(tenant_id=site.tenant_id, document_id=document.id)
    key = f"document_{document.id}_indexing"
    place.redis.set(key, "1")
    with pytest.raises(VectorStoreError) as found:
        await site.run(add_document_to_index, event)
    assert place.redis.get(key) == "1"
    await site.die(add_document_to_index, event, found.value)
    row = await site.document(document.id)
    assert (row.enabled, row.indexing_status, row.error) == (False, "error", "no room")
    assert place.redis.get(key) is None

    await place.set_document(document, enabled=True)
    await _enabled(place, document)
    row = await site.document(document.id)
    assert (row.indexing_status, row.error) == ("completed", None)
    assert await place.nodes(document) == await place.wanted(document)


@pytest.mark.requirement(SECTION, "document.disabled: a failure for good enables the document, unless it is archived")
@pytest.mark.parametrize("archived", [False, True])
async def test_a_failed_disabling(place: Place, *, archived: bool) -> None:
    _, document = await place.indexed()
    await place.set_document(document, enabled=False, archived=archived, disabled_at=utc_now())
    site = replace(place.site, platform=replace(place.site.platform, vectors=_Broken()))
    event = DocumentDisabled(tenant_id=site.tenant_id, document_id=document.id)
    with pytest.raises(VectorStoreError) as found:
        await site.run(remove_document_from_index, event)
    assert all(one.enabled for one in await site.segments(document.id))
    await site.die(remove_document_from_index, event, found.value)
    assert (await site.document(document.id)).enabled is not archived


async def test_a_model_that_is_not_configured_and_ids_that_are_none(place: Place) -> None:
    """No retry can succeed. The dead letter of an event without a document changes nothing."""
    dataset, document = await place.indexed()
    await place.set_dataset(dataset, embedding_model="unknown", embedding_model_provider="nobody")
    with pytest.raises(Permanent, match="is not configured"):
        await _enabled(place, document)
    for bad in ("x", str(uuid4())):
        event = DocumentEnabled(tenant_id=place.site.tenant_id, document_id=bad)
        if bad == "x":
            with pytest.raises(Permanent, match="document_id"):
                await place.site.run(add_document_to_index, event)
        else:
            assert await place.site.run(add_document_to_index, event) == {"skipped": "the document is gone"}
        await place.site.die(add_document_to_index, event, Retry("x"))
