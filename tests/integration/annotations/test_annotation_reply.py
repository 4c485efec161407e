"""Annotation reply: an app begins or stops to answer from its annotations."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.agents.annotations import annotation_reply
from streams.agents.annotations.annotation_index import index_added_annotation
from streams.agents.annotations.annotation_reply import disable_annotation_reply, enable_annotation_reply
from streams.delivery import Permanent, Retry
from streams.delivery.handler import JSON
from streams.dify.embedding.local import MODEL, PROVIDER
from streams.dify.models import App, AppAnnotationSetting, DatasetCollectionBinding, MessageAnnotation
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.settings import Settings
from tests.support.fakes.embedding_server import DIMENSIONS, EmbeddingServer, embedding_server
from tests.support.platform.annotation_rows import (
    add_annotations,
    add_app,
    added,
    disabled,
    enabled,
    indexed,
    job_state,
    questions,
    run_enabling,
)
from tests.support.platform.app_rows import wait_for_lock_or_end, wait_for_locks
from tests.support.platform.handler_runs import CrashError, Site, open_site

SECTION = "The whole domain"
WEB = ("web", "test-model")
"""The model of the fake server. The local model has other dimensions."""
FIVE = [f"Question {number}?" for number in range(5)]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as started:
        yield started


@pytest.fixture
async def site(
    settings: Settings, server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    monkeypatch.setattr(annotation_reply, "GROUP_SIZE", 2)
    given = {
        "redis_url": settings.redis_url,
        "embedding_url": server.url,
        "embedding_provider": WEB[0],
        "embedding_model": WEB[1],
    }
    async with open_site(settings.database_url.get_secret_value(), tmp_path / "files", **given) as opened:
        yield opened


@pytest.fixture
async def app(site: Site) -> App:
    return await add_app(site)


async def _settings(site: Site, app: App) -> list[tuple[float, str, str]]:
    """Return the threshold, provider and model of the app's settings."""
    query = select(AppAnnotationSetting.score_threshold, DatasetCollectionBinding)
    query = query.join(
        DatasetCollectionBinding, DatasetCollectionBinding.id == AppAnnotationSetting.collection_binding_id
    )
    async with site.transaction() as session:
        rows = await session.execute(query.where(AppAnnotationSetting.app_id == app.id))
        return [(threshold, binding.provider_name, binding.model_name) for threshold, binding in rows]


def _keys(kind: str, job_id: str) -> tuple[str, str]:
    return f"{kind}_app_annotation_job_{job_id}", f"{kind}_app_annotation_error_{job_id}"


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: all annotations are indexed, in bounded steps")
async def test_all_annotations_are_indexed_in_steps(site: Site, app: App, settings: Settings) -> None:
    """Setting and binding are written, and the job is reported as completed, with an expiry time, at the end only.

    The platform's note that the collection exists is deleted, since it was dropped.
    """
    await add_annotations(site, app, *FIVE, None)
    noted = f"vector_indexing_{site.collection(app.id)}"
    client = Redis.from_url(settings.redis_url.get_secret_value())
    await client.set(noted, 1)
    event = enabled(site, app)
    status, _ = _keys("enable", event.job_id)
    await client.set(status, "waiting")

    first = await site.run(enable_annotation_reply, event)
    assert await job_state(settings, [status, noted]) == {status: ("waiting", False)}
    (step,) = await site.published()
    results = await run_enabling(site, step)  # type: ignore[arg-type]  # the only event that is published

    assert (first, results[-1]) == ({"done": False, "indexed": 0}, {"done": True, "indexed": 0})
    assert await questions(site, app.id) == FIVE
    assert await _settings(site, app) == [(0.8, PROVIDER, MODEL)]
    assert await job_state(settings, [status]) == {status: ("completed", True)}
    await client.aclose()


@pytest.mark.requirement(
    SECTION, "annotation-reply.enabled: another model drops the old collection, and fills a new one"
)
async def test_another_model_makes_a_new_index(site: Site, app: App) -> None:
    """The vectors have other dimensions, and the app has one setting. A repetition changes nothing."""
    await add_annotations(site, app, *FIVE)
    await run_enabling(site, enabled(site, app))
    event = enabled(site, app, *WEB)
    for _ in range(2):
        await run_enabling(site, event)
        assert await questions(site, app.id) == FIVE
        assert await _settings(site, app) == [(0.8, *WEB)]
    async with site.transaction() as session:
        await site.platform.vectors.create(session, site.collection(app.id), DIMENSIONS)
    assert await site.count(DatasetCollectionBinding, type="annotation", provider_name=WEB[0]) == 1


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: a change during the rebuild is not lost")
async def test_a_change_during_the_rebuild_is_not_lost(site: Site, app: App) -> None:
    """One annotation is deleted and one is changed after the step has read them; one is added behind the cursor.

    The change and the addition have events of their own, because the setting exists from the first step on.
    """
    rows = sorted(await add_annotations(site, app, *FIVE[:2]), key=lambda row: row.id)
    await site.run(enable_annotation_reply, enabled(site, app))
    (step,) = await site.published()
    async with site.transaction() as session:
        setting = (await session.scalars(select(AppAnnotationSetting).filter_by(app_id=app.id))).one()

    async def change(number: int) -> None:
        if number == 1:
            await site.delete(MessageAnnotation, id=rows[0].id)
            async with site.transaction() as session:
                (await session.get_one(MessageAnnotation, rows[1].id)).question = "Changed?"
            for one in (rows[1], *await add_annotations(site, app, "Added?")):
                await site.run(index_added_annotation, added(site, one, setting))

    await site.run(enable_annotation_reply, step, after_step=change)
    assert await questions(site, app.id) == ["Added?", "Changed?"]


@pytest.mark.requirement(
    SECTION, "annotation-reply.enabled: who disables it meanwhile is not overruled by a later step"
)
async def test_a_later_step_does_not_enable_it_again(site: Site, app: App, settings: Settings) -> None:
    """The setting stays deleted, nothing is indexed, and the job is reported as failed."""
    await add_annotations(site, app, *FIVE)
    event = enabled(site, app)
    await site.run(enable_annotation_reply, event)
    (step,) = await site.published()
    await site.run(disable_annotation_reply, disabled(site, app))

    off = "the app does not answer from its annotations"
    assert await site.run(enable_annotation_reply, step) == {"skipped": off}
    assert (await questions(site, app.id), await _settings(site, app)) == ([], [])
    status, error = _keys("enable", event.job_id)
    assert await job_state(settings, [status, error]) == {status: ("error", True), error: (off, True)}


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: the last choice of a model wins")
async def test_steps_of_an_earlier_choice_stop(site: Site, app: App) -> None:
    await add_annotations(site, app, *FIVE)
    await site.run(enable_annotation_reply, enabled(site, app))
    (step,) = await site.published()
    await run_enabling(site, enabled(site, app, *WEB))
    assert await site.run(enable_annotation_reply, step) == {"skipped": "another embedding model was chosen meanwhile"}
    assert await _settings(site, app) == [(0.8, *WEB)]
    assert await questions(site, app.id) == FIVE


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: a crash after any step loses and doubles nothing")
async def test_a_crash_after_any_step(site: Site, app: App) -> None:
    await add_annotations(site, app, *FIVE[:2])
    await site.run(enable_annotation_reply, enabled(site, app))
    (step,) = await site.published()
    after = 1
    while await site.crashes(enable_annotation_reply, step, after):
        after += 1
    assert after > 2
    assert await questions(site, app.id) == FIVE[:2]


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: a failure is reported, and leaves no setting behind")
async def test_a_refused_question_fails_the_job(
    site: Site, app: App, settings: Settings, server: EmbeddingServer
) -> None:
    """The model rejects one text for good. The error names the annotation, not its text. Others are indexed."""
    bad, _ = await add_annotations(site, app, "Forbidden words", "Allowed?")
    server.refused.add("Forbidden words")
    event = enabled(site, app, *WEB)
    await site.run(enable_annotation_reply, event)
    (step,) = await site.published()
    with pytest.raises(Permanent, match=f"annotation {bad.id} has no vector") as found:
        await site.run(enable_annotation_reply, step)
    assert "Forbidden" not in str(found.value)
    assert await questions(site, app.id) == ["Allowed?"]

    await site.die(enable_annotation_reply, step, found.value)
    assert await _settings(site, app) == []
    status, error = _keys("enable", event.job_id)
    assert await job_state(settings, [status, error]) == {status: ("error", True), error: (str(found.value), True)}


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: a failure keeps a setting that existed before")
async def test_a_failure_keeps_an_earlier_setting(site: Site, app: App) -> None:
    await add_annotations(site, app, *FIVE)
    await run_enabling(site, enabled(site, app))
    again = enabled(site, app)
    await site.run(enable_annotation_reply, again)
    (step,) = await site.published()
    await site.die(enable_annotation_reply, step, Permanent("broken"))
    assert len(await _settings(site, app)) == 1


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: a busy model is asked again after the time that it says")
async def test_a_busy_model_is_asked_later(site: Site, app: App, server: EmbeddingServer) -> None:
    await add_annotations(site, app, *FIVE)
    await site.run(enable_annotation_reply, enabled(site, app, *WEB))
    (step,) = await site.published()
    server.refusals.append((429, {"Retry-After": "7"}))
    with pytest.raises(Retry) as found:
        await site.run(enable_annotation_reply, step)
    assert found.value.after == 7.0
    await run_enabling(site, step)  # type: ignore[arg-type]  # the only event that is published
    assert await questions(site, app.id) == FIVE


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: apps that choose a model at the same time get one binding")
async def test_two_apps_get_one_binding(site: Site, app: App) -> None:
    """The first app has created the binding, and has not committed it. No constraint keeps bindings unique."""
    other = await add_app(site)
    running: list[asyncio.Task[JSON]] = []

    async def enable_the_other(_: int) -> None:
        running.append(asyncio.create_task(site.run(enable_annotation_reply, enabled(site, other))))
        await wait_for_lock_or_end(site, running[0])

    await site.run(enable_annotation_reply, enabled(site, app), before_commit=enable_the_other)
    await running[0]
    assert await site.count(DatasetCollectionBinding) == 1
    assert len(await _settings(site, app)) == len(await _settings(site, other)) == 1


@pytest.mark.requirement(SECTION, "annotation-reply.enabled: without its app a job does not wait for ever")
@pytest.mark.parametrize("status", [None, "archived"])
async def test_a_job_without_its_app_ends(site: Site, settings: Settings, status: str | None) -> None:
    app = await add_app(site, status=status or "normal")
    if status is None:
        await site.delete(App, id=app.id)
    for handler, event, kind in (
        (enable_annotation_reply, enabled(site, app), "enable"),
        (disable_annotation_reply, disabled(site, app), "disable"),
    ):
        assert await site.run(handler, event) == {"skipped": "the app does not exist, or is not in use"}
        key, _ = _keys(kind, event.job_id)
        assert await job_state(settings, [key]) == {key: ("error", True)}


@pytest.mark.requirement(
    SECTION, "annotation-reply.enabled: a model that is not configured fails the job with its name"
)
async def test_an_unknown_model_fails_the_job(site: Site, app: App, settings: Settings) -> None:
    event = enabled(site, app, "openai", "text-embedding-3-large")
    with pytest.raises(Permanent, match="is not configured") as found:
        await site.run(enable_annotation_reply, event)
    await site.die(enable_annotation_reply, event, found.value)
    status, error = _keys("enable", event.job_id)
    assert await job_state(settings, [status, error]) == {status: ("error", True), error: (str(found.value), True)}
    assert await _settings(site, app) == []


@pytest.mark.requirement(SECTION, "annotation-reply.disabled: setting and index go together, then the job is reported")
async def test_setting_and_index_go_together(site: Site, app: App, settings: Settings) -> None:
    """A crash before the commit leaves both and reports nothing. A repetition finds nothing and is no failure."""
    await add_annotations(site, app, *FIVE)
    await run_enabling(site, enabled(site, app))
    event = disabled(site, app)
    status, _ = _keys("disable", event.job_id)

    async def crash(_: int) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        await site.run(disable_annotation_reply, event, before_commit=crash)
    assert (await questions(site, app.id), len(await _settings(site, app))) == (FIVE, 1)
    assert await job_state(settings, [status]) == {}
    for _ in range(2):
        assert await site.run(disable_annotation_reply, event) == {"done": True}
        assert (await indexed(site, app.id), await _settings(site, app)) == ({}, [])
        assert await job_state(settings, [status]) == {status: ("completed", True)}
    assert await site.count(MessageAnnotation, app_id=app.id) == 5


@pytest.mark.requirement(SECTION, "annotation-reply.disabled: it waits for a step that writes, and removes its vectors")
async def test_disabling_waits_for_a_step_that_writes(site: Site, app: App) -> None:
    """The setting is locked by the step, so no vector is written after the index was dropped."""
    (annotation,) = await add_annotations(site, app, "Question?")
    await run_enabling(site, enabled(site, app))
    async with site.transaction() as session:
        setting = (await session.scalars(select(AppAnnotationSetting).filter_by(app_id=app.id))).one()
    running: list[asyncio.Task[JSON]] = []

    async def disable_meanwhile(step: int) -> None:
        if step == 3:
            running.append(asyncio.create_task(site.run(disable_annotation_reply, disabled(site, app))))
            await wait_for_locks(site, 1)

    event = added(site, annotation, setting)
    assert await site.run(index_added_annotation, event, before_commit=disable_meanwhile) == {"indexed": 1}
    assert await running[0] == {"done": True}
    assert (await indexed(site, app.id), await _settings(site, app)) == ({}, [])


@pytest.mark.requirement(SECTION, "annotation-reply.disabled: it waits for a step that writes, and removes its vectors")
async def test_disabling_waits_for_a_step_that_is_going_to_write(site: Site, app: App) -> None:
    """The step has checked the setting. The collection, which disabling would drop, does not exist yet."""
    (annotation,) = await add_annotations(site, app, "Question?")
    await site.run(enable_annotation_reply, enabled(site, app))
    async with site.transaction() as session:
        setting = (await session.scalars(select(AppAnnotationSetting).filter_by(app_id=app.id))).one()
    running: list[asyncio.Task[JSON]] = []

    class Slow(PgVectorIndex):
        async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
            running.append(asyncio.create_task(site.run(disable_annotation_reply, disabled(site, app))))
            await wait_for_lock_or_end(site, running[0])
            await super().create(session, collection, dimensions)

    slow = replace(site, platform=replace(site.platform, vectors=Slow()))
    assert await slow.run(index_added_annotation, added(site, annotation, setting)) == {"indexed": 1}
    assert await running[0] == {"done": True}
    assert (await indexed(site, app.id), await _settings(site, app)) == ({}, [])


async def test_a_failed_disabling_is_reported(site: Site, app: App, settings: Settings) -> None:
    event = disabled(site, app)
    await site.die(disable_annotation_reply, event, RuntimeError("the store is broken"))
    status, error = _keys("disable", event.job_id)
    state = await job_state(settings, [status, error])
    assert state == {status: ("error", True), error: ("the store is broken", True)}
