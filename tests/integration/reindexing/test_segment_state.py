"""The index has a segment if and only if its row exists and is enabled."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import SegmentDeleted, SegmentDisabled, SegmentEnabled
from streams.agents.knowledge import segment_state
from streams.agents.knowledge.document_indexing import index_document
from streams.agents.knowledge.segment_state import (
    add_segments_to_index,
    clean_segments,
    remove_segments_from_index,
)
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.errors import VectorStoreError
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.settings import Settings
from tests.support.platform.app_rows import wait_for_lock_or_end
from tests.support.platform.handler_runs import prose
from tests.support.platform.reindexing import Place, open_place

SECTION = "The whole domain"
KINDS = pytest.mark.parametrize("kind", ["text", "children", "keywords"])
PERSON = str(uuid4())


@pytest.fixture
async def place(settings: Settings, tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(settings, tmp_path / "files") as opened:
        yield opened


def _of(document: Document) -> dict[str, Any]:
    return {"tenant_id": document.tenant_id, "dataset_id": document.dataset_id, "document_id": document.id}


async def _children(place: Place, segment: DocumentSegment) -> list[str]:
    async with place.site.transaction() as session:
        rows = await session.scalars(select(ChildChunk.index_node_id).where(ChildChunk.segment_id == segment.id))
        return [node or "" for node in rows]


async def _change(place: Place, segment: DocumentSegment, **columns: object) -> None:
    async with place.site.transaction() as session:
        await session.execute(update(DocumentSegment).where(DocumentSegment.id == segment.id).values(**columns))


@pytest.mark.requirement(SECTION, "segment.disabled, segment.enabled: the index follows the rows, with child chunks")
@KINDS
async def test_disabled_and_enabled(place: Place, kind: str) -> None:
    """Also if each event is repeated. The other segments stay, and the keys in Redis are gone."""
    _, document = await place.indexed(kind)
    before = await place.nodes(document)
    first = (await place.site.segments(document.id))[0]
    key = f"segment_{first.id}_indexing"
    await place.disable_segment(first, PERSON)
    for _ in range(2):
        place.redis.set(key, "1")
        event = SegmentDisabled(**_of(document), segment_ids=[first.id])
        assert await place.site.run(remove_segments_from_index, event) == {"segments": 1, "done": True}
        assert place.redis.get(key) is None
        assert await place.nodes(document) == await place.wanted(document) < before
    await _change(place, first, enabled=True, disabled_at=None, disabled_by=None)
    for _ in range(2):
        place.redis.set(key, "1")
        enabled = SegmentEnabled(**_of(document), segment_ids=[first.id, str(uuid4())])
        assert await place.site.run(add_segments_to_index, enabled) == {"segments": 1}
        assert place.redis.get(key) is None
        assert await place.nodes(document) == before


@pytest.mark.requirement(SECTION, "segment.enabled, segment.disabled: two events that are swapped end as the rows say")
async def test_swapped_events(place: Place) -> None:
    _, document = await place.indexed()
    before = await place.nodes(document)
    first = (await place.site.segments(document.id))[0]
    late = SegmentDisabled(**_of(document), segment_ids=[first.id])
    assert await place.site.run(remove_segments_from_index, late) == {"segments": 0, "done": True}
    assert await place.nodes(document) == before
    await place.disable_segment(first, PERSON)
    await place.site.run(remove_segments_from_index, late)
    late_enabled = SegmentEnabled(**_of(document), segment_ids=[first.id])
    assert await place.site.run(add_segments_to_index, late_enabled) == {"segments": 0}
    assert await place.nodes(document) == await place.wanted(document) < before


@pytest.mark.requirement(SECTION, "segment.disabled: who enables the segment during the removal is found again")
async def test_a_segment_is_enabled_during_its_removal(place: Place) -> None:
    """The removal has read the segment as disabled, and has not deleted its vector yet. The enabling waits for it."""
    _, document = await place.indexed()
    before = await place.nodes(document)
    first = (await place.site.segments(document.id))[0]
    await place.disable_segment(first, PERSON)
    enabling: list[asyncio.Task[JSON]] = []

    async def enable() -> JSON:
        await _change(place, first, enabled=True, disabled_at=None, disabled_by=None)
        return await place.site.run(add_segments_to_index, SegmentEnabled(**_of(document), segment_ids=[first.id]))

    class Slow(PgVectorIndex):
        async def delete_nodes(
            self, session: AsyncSession, collection: str, dataset_id: str, node_ids: Sequence[str]
        ) -> int:
            enabling.append(asyncio.create_task(enable()))
            await wait_for_lock_or_end(place.site, enabling[0])
            return await super().delete_nodes(session, collection, dataset_id, node_ids)

    slow = replace(place.site, platform=replace(place.site.platform, vectors=Slow()))
    event = SegmentDisabled(**_of(document), segment_ids=[first.id])
    assert await slow.run(remove_segments_from_index, event) == {"segments": 1, "done": True}
    assert await enabling[0] == {"segments": 1}
    assert await place.nodes(document) == await place.wanted(document) == before


@pytest.mark.requirement(SECTION, "segment.deleted: nothing is left, whatever state the document has")
@pytest.mark.parametrize(
    ("kind", "state"),
    [("text", "enabled"), ("text", "archived"), ("children", "disabled"), ("keywords", "indexing")],
)
async def test_deleted(place: Place, kind: str, state: str) -> None:
    """Vectors, keywords, child chunks and the keys in Redis. A null, for a segment without vector, harms nothing."""
    _, document = await place.indexed(kind)
    first = (await place.site.segments(document.id))[0]
    children = await _children(place, first)
    await place.site.delete(DocumentSegment, id=first.id)
    if state == "indexing":
        await place.set_document(document, indexing_status="indexing")
    elif state != "enabled":
        await place.set_document(document, enabled=state != "disabled", archived=state == "archived")
    key = f"segment_{first.id}_delete_indexing"
    place.redis.set(key, "1")
    event = SegmentDeleted(
        **_of(document), index_node_ids=[None, first.index_node_id, first.index_node_id], child_node_ids=children
    )
    for _ in range(2):
        result = await place.site.run(clean_segments, event)
        assert await place.nodes(document) == await place.wanted(document)
        assert await place.site.count(ChildChunk, segment_id=first.id) == 0
        assert place.redis.get(key) is None
    assert result == {"done": True, "removed": {}}


@pytest.mark.requirement(
    SECTION, "segment.deleted: a segment of a document that is being indexed gets no vector any more"
)
async def test_a_segment_is_deleted_during_the_indexing(place: Place) -> None:
    """After each step, with its clean-up, before the indexing goes on. The rest of the document is found."""
    dataset = await place.site.add_dataset()
    step, happened = 0, True
    while happened:
        step += 1
        happened = False
        document = await place.site.add_document(dataset, prose(3))

        async def delete(done: int, at: int = step, of: Document = document) -> None:
            nonlocal happened
            if done == at:
                happened = True
                for first in (await place.site.segments(of.id))[:1]:
                    await place.site.delete(DocumentSegment, id=first.id)
                    event = SegmentDeleted(**_of(of), index_node_ids=[first.index_node_id])
                    await place.site.run(clean_segments, event)

        await place.site.run(index_document, place.site.request(document), after_step=delete)
        assert await place.nodes(document) == await place.wanted(document) != set()
        assert (await place.site.document(document.id)).indexing_status == "completed"
    assert step > 4


@pytest.mark.requirement(SECTION, "segment.deleted: an empty list of node ids deletes nothing")
@pytest.mark.parametrize("nodes", [[], [None], ["no-uuid"]])
async def test_an_empty_list_is_not_the_whole_collection(place: Place, nodes: list[str | None]) -> None:
    _, document = await place.indexed()
    before = await place.nodes(document)
    event = SegmentDeleted(**_of(document), index_node_ids=nodes)
    assert await place.site.run(clean_segments, event) == {"done": True, "removed": {}}
    assert await place.nodes(document) == before


@pytest.mark.requirement(SECTION, "segment.deleted: child chunks are deleted also if the event does not name them")
async def test_children_that_the_event_does_not_name(place: Place) -> None:
    _, document = await place.indexed("children")
    first = (await place.site.segments(document.id))[0]
    await place.site.delete(DocumentSegment, id=first.id)
    await place.site.run(clean_segments, SegmentDeleted(**_of(document), index_node_ids=[first.index_node_id]))
    assert await place.nodes(document) == await place.wanted(document)
    assert await place.site.count(ChildChunk, segment_id=first.id) == 0


@pytest.mark.requirement(SECTION, "segment.deleted: a row that still exists keeps everything")
async def test_a_row_that_still_exists(place: Place) -> None:
    """The deletion is not committed yet, or was rolled back."""
    _, document = await place.indexed("children")
    before = await place.nodes(document)
    first = (await place.site.segments(document.id))[0]
    for named in (
        {"index_node_ids": [first.index_node_id]},
        {"index_node_ids": [None], "child_node_ids": await _children(place, first)},
    ):
        with pytest.raises(Retry) as found:
            await place.site.run(clean_segments, SegmentDeleted.model_validate({**_of(document), **named}))
        assert found.value.reason == Reason.ROW_STILL_EXISTS
    assert await place.nodes(document) == before


@pytest.mark.requirement(SECTION, "segment.deleted, segment.disabled: large events go in bounded steps")
async def test_bounded_steps(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_state, "SEGMENTS_PER_STEP", 2)
    _, document = await place.indexed()
    first, *deleted = await place.site.segments(document.id)
    for one in deleted:
        await place.disable_segment(one, PERSON)
    assert len(deleted) == 2
    waiting: list[Any] = [SegmentDisabled(**_of(document), segment_ids=[str(uuid4()), *(one.id for one in deleted)])]
    steps = 0
    while waiting:
        await place.site.run(remove_segments_from_index, waiting.pop())
        waiting += await place.site.published()
        steps += 1
    assert steps == 2
    assert await place.nodes(document) == {first.index_node_id}

    await place.site.delete(DocumentSegment, document_id=document.id)
    nodes = [str(uuid4()), str(uuid4()), first.index_node_id]
    waiting, steps = [SegmentDeleted(**_of(document), index_node_ids=nodes)], 0
    while waiting:
        await place.site.run(clean_segments, waiting.pop())
        waiting += await place.site.published()
        steps += 1
    assert steps == 2
    assert await place.nodes(document) == set()


@pytest.mark.requirement(SECTION, "segment.enabled: a segment that was just created is loaded, with given keywords")
@pytest.mark.parametrize("kind", ["text", "children", "keywords"])
async def test_a_new_segment(place: Place, kind: str) -> None:
    """Its row waits. It gets an id in the index, child chunks by the document's rule, and becomes complete."""
    _, document = await place.indexed(kind)
    new = DocumentSegment(
        id=str(uuid4()),
        **_of(document),
        position=9,
        content="Cellar 9 holds old wine. It is cold.",
        word_count=36,
        tokens=9,
        status="waiting",
        created_by=PERSON,
    )
    await place.site.add(new)
    event = SegmentEnabled(**_of(document), segment_ids=[new.id], keywords=["wine", "cellar"])
    await place.site.run(add_segments_to_index, event)
    last = (await place.site.segments(document.id))[-1]
    assert (last.status, last.enabled, last.keywords) == ("completed", True, ["wine", "cellar"])
    assert last.completed_at is not None
    nodes = await _children(place, last) if kind == "children" else [last.index_node_id]
    assert len(nodes) >= 1
    assert set(nodes) <= await place.nodes(document) == await place.wanted(document)


@pytest.mark.requirement(SECTION, "segment.enabled: a segment of a disabled document waits for the document")
async def test_the_document_is_disabled(place: Place) -> None:
    _, document = await place.indexed()
    first = (await place.site.segments(document.id))[0]
    await place.set_document(document, enabled=False)
    event = SegmentEnabled(**_of(document), segment_ids=[first.id])
    assert await place.site.run(add_segments_to_index, event) == {"skipped": "the document is disabled"}
    assert (await place.site.segments(document.id))[0].enabled


class _Broken(PgVectorIndex):
    async def upsert(self, *_: object) -> None:
        raise VectorStoreError("no room")

    async def delete_nodes(self, *_: object) -> int:
        raise VectorStoreError("no room")


@pytest.mark.requirement(SECTION, "segment.enabled, segment.disabled: a failure for good is shown in the rows")
async def test_failures(place: Place) -> None:
    """As on the platform: enabling ends as error and disabled, disabling as enabled. The keys are gone."""
    _, document = await place.indexed()
    first, second, _ = await place.site.segments(document.id)
    broken = replace(place.site, platform=replace(place.site.platform, vectors=_Broken()))
    keys = [f"segment_{one.id}_indexing" for one in (first, second)]
    for key in keys:
        place.redis.set(key, "1")
    enabled = SegmentEnabled(**_of(document), segment_ids=[first.id])
    with pytest.raises(VectorStoreError) as found:
        await broken.run(add_segments_to_index, enabled)
    await broken.die(add_segments_to_index, enabled, found.value)
    await place.disable_segment(second, PERSON)
    disabled = SegmentDisabled(**_of(document), segment_ids=[second.id])
    with pytest.raises(VectorStoreError):
        await broken.run(remove_segments_from_index, disabled)
    await broken.die(remove_segments_from_index, disabled, found.value)
    rows = await place.site.segments(document.id)
    assert (rows[0].status, rows[0].enabled, rows[0].error) == ("error", False, "no room")
    assert (rows[1].status, rows[1].enabled, rows[1].disabled_by) == ("completed", True, None)
    assert place.redis.exists(*keys) == 0

    await _change(place, first, enabled=True, disabled_at=None)
    await place.site.run(add_segments_to_index, enabled)
    assert (await place.site.segments(document.id))[0].status == "completed"


@pytest.mark.requirement(SECTION, "segment.deleted: also after the dataset and the document are gone")
async def test_everything_is_gone(place: Place) -> None:
    """Their own clean-ups may be late. The vectors of these segments go anyway."""
    dataset, document = await place.indexed()
    rows = await place.site.segments(document.id)
    for model in (DocumentSegment, Document, Dataset):
        await place.site.delete(model, **({"id": dataset.id} if model is Dataset else {"dataset_id": dataset.id}))
    event = SegmentDeleted(**_of(document), index_node_ids=[one.index_node_id for one in rows])
    await place.site.run(clean_segments, event)
    assert await place.nodes(document) == set()
    gone = SegmentEnabled(**_of(document), segment_ids=[rows[0].id])
    assert await place.site.run(add_segments_to_index, gone) == {"skipped": "the dataset is gone"}
    with pytest.raises(Permanent, match="segment_ids"):
        await place.site.run(remove_segments_from_index, SegmentDisabled(**_of(document), segment_ids=["x"]))
