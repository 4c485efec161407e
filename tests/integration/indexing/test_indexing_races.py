"""Concurrent events at each step of an indexing: deletion, pause, newer request, kill, unavailable store.

Each test forces the interleaving at every step in turn, until the work has no more steps. Then it compares every row,
vector, keyword and image with those of an undisturbed indexing. A neighbour's document never changes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from streams.agents.knowledge import document_indexing as splitting
from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.delivery.handler import JSON
from streams.dify.errors import VectorStoreError
from streams.dify.indexing import load
from streams.dify.indexing import replace as replace_module
from streams.dify.models import Dataset, Document
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.dify.vector_stores.port import VectorIndex
from tests.support.platform.cleanup_steps import left, settle, source_file, stored
from tests.support.platform.handler_runs import CrashError, Site, open_site
from tests.support.platform.indexing_snapshots import (
    KINDS,
    Kind,
    found,
    indexed,
    of_each_kind,
    request_again,
    snapshot,
    table_nodes,
)

GONE = ({"skipped": "the document is gone"}, {"skipped": "the dataset is gone"})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One kind of document; `tests/crash/workers/test_indexing_races.py` has the others."""
    of_each_kind(metafunc, "text")


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps from a short document."""
    monkeypatch.setattr(load, "GROUP_SIZE", 5)
    monkeypatch.setattr(splitting, "INSERT_BATCH", 6)
    monkeypatch.setattr(replace_module, "REMOVE_BATCH", 5)


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


@dataclass(frozen=True)
class Scene:
    """A dataset, a neighbour in it, and the snapshot of an undisturbed indexing."""

    site: Site
    kind: Kind
    dataset: Dataset
    neighbour: Document
    before: dict[str, Any]
    expected: dict[str, Any]

    async def check_neighbour(self) -> None:
        assert await snapshot(self.site, self.dataset, self.neighbour.id) == self.before


async def _scene(site: Site, kind: Kind) -> Scene:
    dataset = await kind.dataset(site)
    neighbour = await kind.document(site, dataset)
    await site.run(index_document, site.request(neighbour))
    before = await snapshot(site, dataset, neighbour.id)
    return Scene(site, kind, dataset, neighbour, before, before)


async def _document(scene: Scene, *, again: bool) -> Document:
    """Add a waiting document; `again`: it was indexed with another content before."""
    site, kind = scene.site, scene.kind
    if not again:
        return await kind.document(site, scene.dataset)
    document = await site.add_document(scene.dataset, kind.other, name=kind.file, **kind.columns)
    await site.run(index_document, site.request(document))
    await request_again(site, document, kind.content)
    return document


@pytest.mark.requirement("Races", "delete of the document before, at and after each step")
@pytest.mark.parametrize("moment", ["at", "after"])
async def test_a_document_is_deleted_at_each_step(site: Site, kind: Kind, moment: str) -> None:
    """`at`: the deletion waits for the step that locks the row. The indexing stops, and clean-up leaves nothing."""
    scene = await _scene(site, kind)
    files, entries = stored(site), await table_nodes(site, scene.dataset)
    step, stopped = 0, True
    while stopped:
        document = await _document(scene, again=step % 2 == 1)
        result = await _delete_at(site, document, step, moment)
        stopped = result in GONE
        await site.delete(Document, id=document.id)
        await settle(site, site.document_deleted(document, source_file(document)))
        assert await left(site, document_id=document.id) == {}
        assert (stored(site), await table_nodes(site, scene.dataset)) == (files, entries)
        await scene.check_neighbour()
        step += 1
    assert step > 3


async def _delete_at(site: Site, document: Document, step: int, moment: str) -> JSON:
    """Delete the document. Step 0: before the first step. `at`: in another transaction, while the step's is open."""
    if step == 0:
        await site.delete(Document, id=document.id)
        return await site.run(index_document, site.request(document))
    waiting: list[asyncio.Task[None]] = []

    async def during(at: int) -> None:
        if moment == "at" and at == step:
            waiting.append(asyncio.create_task(site.delete(Document, id=document.id)))
            await asyncio.wait(waiting, timeout=0.05)
            assert not waiting[0].done(), "the deletion did not wait for the step"

    async def after(done: int) -> None:
        if done == step:
            if moment == "at":
                await asyncio.wait_for(waiting[0], 10)
            else:
                await site.delete(Document, id=document.id)

    return await site.run(index_document, site.request(document), before_commit=during, after_step=after)


@pytest.mark.requirement("Races", "delete of the dataset")
async def test_the_dataset_is_deleted_after_each_step(site: Site, kind: Kind) -> None:
    """Its whole clean-up runs between two steps of the indexing, which stops. Nothing is left of any document."""
    elsewhere = await _scene(site, kind)
    files = stored(site)
    step, stopped = 0, True
    while stopped:
        step += 1
        dataset = await kind.dataset(site)
        document = await kind.document(site, dataset)

        async def delete(done: int, at: int = step, gone: Dataset = dataset) -> None:
            if done == at:
                await site.delete(Dataset, id=gone.id)
                await settle(site, site.dataset_deleted(gone))

        result = await site.run(index_document, site.request(document), after_step=delete)
        stopped = result in GONE
        await site.delete(Dataset, id=dataset.id)
        await settle(site, site.dataset_deleted(dataset))
        assert await left(site, dataset_id=dataset.id) == {}
        assert stored(site) == files
        await elsewhere.check_neighbour()
    assert step > 3


@pytest.mark.requirement(
    "Pause, resume, retry, duplicates",
    "a paused document stops at the next step and goes on later from there",
)
@pytest.mark.requirement("Races", "pause during load")
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
async def test_a_pause_after_each_step(site: Site, kind: Kind, *, again: bool) -> None:
    """It stops at the next step.

    After the resume it ends as an undisturbed one, and loaded rows are not created again.
    """
    scene = await _scene(site, kind)
    step, stopped = 0, True
    while stopped:
        step += 1
        document = await _document(scene, again=again)

        async def pause(done: int, at: int = step, document_id: str = document.id) -> None:
            if done == at:
                await _set_paused(site, document_id, paused=True)

        result = await site.run(index_document, site.request(document), after_step=pause)
        stopped = result == {"skipped": "the document is paused"}
        loaded = await _loaded(site, document)
        status = (await site.document(document.id)).indexing_status
        assert await site.run(index_document, site.request(document)) == {"skipped": "the document is paused"}
        await _set_paused(site, document.id, paused=False)
        await site.run(index_document, site.request(document))
        assert await snapshot(site, scene.dataset, document.id) == scene.expected
        if status == "indexing":
            assert loaded.items() <= (await _loaded(site, document)).items()
        await scene.check_neighbour()
    assert step > 3


async def _set_paused(site: Site, document_id: str, *, paused: bool) -> None:
    async with site.transaction() as session:
        (await session.get_one(Document, document_id)).is_paused = paused


async def _loaded(site: Site, document: Document) -> dict[str, object]:
    """Return the completion time of each segment of this indexing."""
    started = (await site.document(document.id)).processing_started_at
    return {
        segment.id: segment.completed_at
        for segment in await site.segments(document.id)
        if segment.completed_at is not None and segment.created_at == started
    }


@pytest.mark.requirement("Races", "index and re-index at once")
@pytest.mark.parametrize("mark", [False, True], ids=["plain", "marked"])
async def test_a_newer_request_at_each_step(site: Site, kind: Kind, *, mark: bool) -> None:
    """The platform changes the content during an indexing. It stops, and only the new content is left."""
    scene = await _scene(site, kind)
    expected = await indexed(site, kind, scene.dataset, kind.other)
    step, stopped = 0, True
    while stopped:
        step += 1
        document = await _document(scene, again=step % 2 == 1)

        changed_at: list[int] = []

        async def change(done: int, at: int = step, changed: Document = document, told: list[int] = changed_at) -> None:
            if done == at:
                told.append(done)
                await request_again(site, changed, kind.other, mark=mark)

        result = await site.run(index_document, site.request(document), after_step=change)
        stopped = result == {"skipped": "the document was requested again"}
        if stopped:
            assert (await site.document(document.id)).indexing_status == "waiting"
        await site.run(index_document, site.request(document))
        assert await snapshot(site, scene.dataset, document.id) == (expected if changed_at else scene.expected)
        await scene.check_neighbour()
    assert step > 3


@pytest.mark.requirement("Races", "index and re-index at once")
async def test_a_newer_request_waits_for_a_step_that_changes_the_status(site: Site) -> None:
    """So `waiting` is never overwritten: the step before it commits first, the step after it stops."""
    kind = KINDS["text"]
    scene = await _scene(site, kind)
    expected = await indexed(site, kind, scene.dataset, kind.other)
    step, stopped = 0, True
    while stopped:
        step += 1
        document = await _document(scene, again=False)
        changes: list[asyncio.Task[None]] = []

        async def change(
            at: int, wanted: int = step, changed: Document = document, started: list[asyncio.Task[None]] = changes
        ) -> None:
            if at == wanted:
                started.append(asyncio.create_task(request_again(site, changed, kind.other)))
                await asyncio.wait(started, timeout=0.05)

        async def wait(done: int, wanted: int = step, started: list[asyncio.Task[None]] = changes) -> None:
            if done == wanted:
                await asyncio.wait_for(started[0], 10)

        result = await site.run(index_document, site.request(document), before_commit=change, after_step=wait)
        stopped = result == {"skipped": "the document was requested again"}
        if changes:
            assert (await site.document(document.id)).indexing_status == "waiting"
        await site.run(index_document, site.request(document))
        assert (await snapshot(site, scene.dataset, document.id)) == (expected if changes else scene.expected)
    assert step > 3


@pytest.mark.requirement("Races", "a worker killed at each step")
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
async def test_a_worker_is_killed_at_and_after_each_step(site: Site, kind: Kind, *, again: bool) -> None:
    """Before and after its commit: the next attempt ends as an undisturbed one."""
    scene = await _scene(site, kind)
    step, killed = 0, True
    while killed:
        step += 1
        document = await _document(scene, again=again)

        async def kill(at: int, wanted: int = step) -> None:
            if at == wanted:
                raise CrashError

        killed = False
        for hook in ("before_commit", "after_step"):
            try:
                await site.run(index_document, site.request(document), **{hook: kill})
            except CrashError:
                killed = True
        await site.run(index_document, site.request(document))
        assert await snapshot(site, scene.dataset, document.id) == scene.expected
        await scene.check_neighbour()
    assert step > 3


@pytest.mark.requirement(
    "Pause, resume, retry, duplicates",
    "re-indexing: at every moment the old or the new can be found",
)
@pytest.mark.parametrize("trouble", ["none", "killed", "given up"])
async def test_indexed_anew_something_is_found_at_every_moment(site: Site, kind: Kind, trouble: str) -> None:
    """Within each step, after it and all the time, the previous or the new content is found.

    In the end only the new content is found.
    """
    scene = await _scene(site, kind)
    await site.delete(Document, id=scene.neighbour.id)
    await settle(site, site.document_deleted(scene.neighbour, source_file(scene.neighbour)))
    document = await _document(scene, again=True)
    former, new = kind.words[1], kind.words[0]
    looks = 0

    async def look(_: int) -> None:
        nonlocal looks
        looks += 1
        assert await found(site, scene.dataset, former) or await found(site, scene.dataset, new)

    async def watch() -> None:
        while True:
            await look(0)

    async def kill(step: int) -> None:
        await look(step)
        if trouble != "none":
            raise CrashError

    watching = asyncio.create_task(watch())
    for _ in range(3 if trouble != "none" else 0):
        with contextlib.suppress(CrashError):
            await site.run(index_document, site.request(document), before_commit=look, after_step=kill)
        if trouble == "given up":
            await site.die(index_document, site.request(document), RuntimeError("given up"))
            assert (await site.document(document.id)).indexing_status == "error"
            assert await found(site, scene.dataset, former)
    await site.run(index_document, site.request(document), before_commit=look, after_step=look)
    assert not watching.done(), watching.exception()
    watching.cancel()
    assert looks > 8
    assert await snapshot(site, scene.dataset, document.id) == scene.expected


class UnavailableStore(PgVectorIndex):
    """A store that is unavailable from its n-th call on."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls
        self.back = False

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - any method of the store
        found = super().__getattribute__(name)
        if name in {"create", "upsert", "delete_nodes", "delete_document", "count", "drop"} and not self.back:
            self.left -= 1
            if self.left < 0:
                message = "the store does not answer"
                raise VectorStoreError(message)
        return found


@pytest.mark.requirement("Races", "the vector store gone at each step")
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
async def test_the_vector_store_is_gone_at_each_call(site: Site, kind: Kind, *, again: bool) -> None:
    """The attempt fails with the reason. The next one, with the store back, ends as an undisturbed one."""
    scene = await _scene(site, kind)
    calls, failed = -1, True
    while failed:
        calls += 1
        document = await _document(scene, again=again)
        store = UnavailableStore(calls)
        away = _with_store(site, store)
        try:
            await away.run(index_document, site.request(document))
            failed = False
        except VectorStoreError:
            failed = True
            assert (await site.document(document.id)).indexing_status in {"waiting", "indexing"}
        store.back = True
        await away.run(index_document, site.request(document))
        assert await snapshot(site, scene.dataset, document.id) == scene.expected
        await scene.check_neighbour()
    assert calls > 0


@pytest.mark.requirement("Races", "the vector store gone at each step")
async def test_the_vector_store_is_gone_at_each_call_of_a_clean_up(site: Site) -> None:
    """No partial deletion stays: the next attempt, with the store back, leaves nothing."""
    scene = await _scene(site, KINDS["text"])
    calls, failed = -1, True
    while failed:
        calls += 1
        document = await _document(scene, again=False)
        await site.run(index_document, site.request(document))
        whole = await left(site, dataset_id=scene.dataset.id)
        await site.delete(Document, id=document.id)
        store = UnavailableStore(calls)
        deletion = site.document_deleted(document, source_file(document))
        try:
            await _with_store(site, store).run(clean_document, deletion)
            failed = False
        except VectorStoreError:
            failed = True
            assert await left(site, dataset_id=scene.dataset.id) == {**whole, "documents": whole["documents"] - 1}
        await settle(site, deletion)
        assert await left(site, document_id=document.id) == {}
        await scene.check_neighbour()
    assert calls > 0


def _with_store(site: Site, store: VectorIndex) -> Site:
    return replace(site, platform=replace(site.platform, vectors=store))


@pytest.mark.requirement("Pause, resume, retry, duplicates", "two requests for one document at once do the work once")
async def test_two_attempts_at_once_end_like_one(site: Site) -> None:
    """Handlers run concurrently, which only happens after a lost lease. Nothing is duplicated or missing."""
    scene = await _scene(site, KINDS["text"])
    document = await _document(scene, again=False)
    await asyncio.gather(*(site.run(index_document, site.request(document)) for _ in range(2)))
    await site.run(index_document, site.request(document))
    assert await snapshot(site, scene.dataset, document.id) == scene.expected
    await scene.check_neighbour()
