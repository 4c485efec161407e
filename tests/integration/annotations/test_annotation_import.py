"""Imports of annotations: the rows come once, whatever is repeated, and are indexed if the app answers from them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from schemas import AnnotationRow, AnnotationsImportRequested, AppDeleted
from streams.agents.annotations import annotation_import
from streams.agents.annotations.annotation_import import import_annotations
from streams.agents.apps.cleanup import clean_app
from streams.delivery.handler import JSON
from streams.dify.models import App, AppAnnotationSetting, MessageAnnotation
from streams.settings import Settings
from tests.support.platform.annotation_rows import add_app, add_setting, job_state, questions
from tests.support.platform.app_rows import wait_for_lock_or_end
from tests.support.platform.handler_runs import Site, open_site

SECTION = "The whole domain"
FIVE = [f"Question {number}?" for number in range(5)]


@pytest.fixture
async def site(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(annotation_import, "GROUP_SIZE", 2)
    url = settings.database_url.get_secret_value()
    async with open_site(url, tmp_path / "files", redis_url=settings.redis_url) as opened:
        yield opened


@pytest.fixture
async def app(site: Site) -> App:
    return await add_app(site)


def _event(site: Site, app: App, *asked: str) -> AnnotationsImportRequested:
    return AnnotationsImportRequested(
        tenant_id=site.tenant_id,
        job_id=str(uuid4()),
        app_id=app.id,
        account_id=str(uuid4()),
        rows=[AnnotationRow(question=one, answer=f"Answer to {one}\x00") for one in asked],
    )


def _keys(event: AnnotationsImportRequested) -> tuple[str, str]:
    return f"app_annotation_batch_import_{event.job_id}", f"app_annotation_batch_import_error_msg_{event.job_id}"


async def _rows(site: Site, app: App) -> list[tuple[str | None, str, str]]:
    async with site.transaction() as session:
        query = select(MessageAnnotation.question, MessageAnnotation.content, MessageAnnotation.account_id)
        rows = await session.execute(query.filter_by(app_id=app.id).order_by(MessageAnnotation.question))
        return [(question, content, account) for question, content, account in rows]


@pytest.mark.requirement(SECTION, "annotations.import-requested: rows and index, once, however often it is repeated")
async def test_an_import_adds_rows_and_entries_once(site: Site, app: App, settings: Settings) -> None:
    """The job's key has an expiry time. A zero byte, which PostgreSQL cannot store, is replaced."""
    await add_setting(site, app)
    event = _event(site, app, *FIVE)
    status, _ = _keys(event)
    for inserted in (5, 0):
        assert await site.run(import_annotations, event) == {"inserted": inserted, "indexed": 5}
        assert await _rows(site, app) == [(one, f"Answer to {one}�", event.account_id) for one in FIVE]
        assert await questions(site, app.id) == FIVE
        assert await job_state(settings, [status]) == {status: ("completed", True)}


@pytest.mark.requirement(SECTION, "annotations.import-requested: a crash after any step loses and doubles nothing")
async def test_a_crash_after_any_step(site: Site, app: App) -> None:
    await add_setting(site, app)
    event, after = _event(site, app, *FIVE), 1
    while await site.crashes(import_annotations, event, after):
        after += 1
    assert after > 9
    assert await questions(site, app.id) == FIVE
    assert len(await _rows(site, app)) == 5


@pytest.mark.requirement(SECTION, "annotations.import-requested: what a person deletes meanwhile does not come back")
async def test_a_deleted_annotation_does_not_come_back(site: Site, app: App) -> None:
    """The worker crashes after the insertion, a person deletes an annotation, the event is delivered again."""
    await add_setting(site, app)
    event = _event(site, app, *FIVE)
    assert await site.crashes(import_annotations, event, 1)
    await site.delete(MessageAnnotation, app_id=app.id, question=FIVE[0])
    assert await site.run(import_annotations, event) == {"inserted": 0, "indexed": 4}
    assert await questions(site, app.id) == FIVE[1:]
    assert len(await _rows(site, app)) == 4


@pytest.mark.requirement(
    SECTION, "annotations.import-requested: a deletion of the app waits for the insertion, and wins"
)
async def test_the_app_is_deleted_during_the_insertion(site: Site, app: App) -> None:
    """The rows are not committed yet. The clean-up comes after them and finds them."""
    deleting: list[asyncio.Task[JSON]] = []

    async def delete() -> JSON:
        await site.delete(App, id=app.id)
        return await site.run(clean_app, AppDeleted(tenant_id=site.tenant_id, app_id=app.id))

    async def during(step: int) -> None:
        if step == 1:
            deleting.append(asyncio.create_task(delete()))
            await wait_for_lock_or_end(site, deleting[0])

    async def after(step: int) -> None:
        if step == 1:
            await deleting[0]

    event = _event(site, app, *FIVE)
    result = await site.run(import_annotations, event, before_commit=during, after_step=after)
    assert result == {"skipped": "the app does not exist, or is not in use"}
    assert await _rows(site, app) == []


@pytest.mark.requirement(SECTION, "annotations.import-requested: without annotation reply only rows are added")
async def test_without_annotation_reply_only_rows_are_added(site: Site, app: App, settings: Settings) -> None:
    """Also if it is disabled during the import."""
    event = _event(site, app, *FIVE)
    assert await site.run(import_annotations, event) == {"inserted": 5, "indexed": 0}
    await add_setting(site, app)
    other = _event(site, app, "One more?")

    async def disable(step: int) -> None:
        if step == 2:
            await site.delete(AppAnnotationSetting, app_id=app.id)

    assert await site.run(import_annotations, other, after_step=disable) == {"inserted": 1, "indexed": 0}
    assert (len(await _rows(site, app)), await questions(site, app.id)) == (6, [])
    for one in (event, other):
        status, _ = _keys(one)
        assert await job_state(settings, [status]) == {status: ("completed", True)}


@pytest.mark.requirement(SECTION, "annotations.import-requested: without its app a job does not wait for ever")
async def test_a_job_without_its_app_ends(site: Site, app: App, settings: Settings) -> None:
    event = _event(site, app, *FIVE)
    await site.delete(App, id=app.id)
    gone = "the app does not exist, or is not in use"
    assert await site.run(import_annotations, event) == {"skipped": gone}
    status, error = _keys(event)
    assert await job_state(settings, [status, error]) == {status: ("error", True), error: (gone, True)}
    assert await _rows(site, app) == []


@pytest.mark.requirement(SECTION, "annotations.import-requested: a failure is reported with its reason")
async def test_a_failure_is_reported(site: Site, app: App, settings: Settings) -> None:
    event = _event(site, app, *FIVE)
    await site.die(import_annotations, event, RuntimeError("the store is broken"))
    status, error = _keys(event)
    state = await job_state(settings, [status, error])
    assert state == {status: ("error", True), error: ("the store is broken", True)}
