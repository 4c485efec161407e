"""Single annotations: the index has what the rows say, in any order of events."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import AnnotationAdded, AnnotationUpdated, AppDeleted
from streams.agents.annotations.annotation_index import (
    index_added_annotation,
    index_updated_annotation,
    remove_deleted_annotation,
)
from streams.agents.apps.cleanup import clean_app
from streams.database.tables import outbox
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.models import App, AppAnnotationSetting, DatasetCollectionBinding, MessageAnnotation
from streams.dify.vector_stores.pgvector import PgVectorIndex
from tests.support.platform.annotation_rows import (
    add_annotations,
    add_app,
    add_setting,
    added,
    deleted,
    indexed,
    questions,
)
from tests.support.platform.app_rows import wait_for_lock_or_end
from tests.support.platform.handler_runs import Site, open_site
from tests.support.platform.store_fixtures import of_store

__all__ = ["of_store"]

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
SECTION = "The whole domain"
OFTEN = "How often may I be away?"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


@pytest.fixture
async def app(site: Site) -> App:
    return await add_app(site)


@pytest.fixture
async def setting(site: Site, app: App) -> AppAnnotationSetting:
    return await add_setting(site, app)


async def _change(site: Site, annotation: MessageAnnotation, question: str | None) -> None:
    async with site.transaction() as session:
        (await session.get_one(MessageAnnotation, annotation.id)).question = question


def _updated(event: AnnotationAdded, **fields: object) -> AnnotationUpdated:
    known: dict[str, Any] = event.model_dump(exclude={"event_id", "occurred_at"})
    return AnnotationUpdated(**{**known, **fields})


@pytest.mark.requirement(SECTION, "annotation.added: the question is in the app's collection, as the platform reads it")
async def test_an_added_annotation_is_indexed_once(site: Site, app: App, setting: AppAnnotationSetting) -> None:
    """Text and metadata are the platform's. A redelivered event overwrites the same entry."""
    (annotation,) = await add_annotations(site, app, OFTEN)
    for _ in range(2):
        assert await site.run(index_added_annotation, added(site, annotation, setting)) == {"indexed": 1}
    meta = {"doc_id": annotation.id, "annotation_id": annotation.id, "app_id": app.id}
    assert await indexed(site, app.id) == {annotation.id: (OFTEN, meta)}


@pytest.mark.requirement(SECTION, "annotation.updated: swapped or repeated, the row decides")
async def test_swapped_events_leave_the_question_of_the_row(
    site: Site, app: App, setting: AppAnnotationSetting
) -> None:
    """The change is handled first, then the addition with the old question."""
    (annotation,) = await add_annotations(site, app, "An old question?")
    first = added(site, annotation, setting)
    await _change(site, annotation, OFTEN)
    await site.run(index_updated_annotation, _updated(first, question=OFTEN))
    await site.run(index_added_annotation, first)
    assert await questions(site, app.id) == [OFTEN]


@pytest.mark.requirement(SECTION, "annotation.updated: a change during the embedding is not overwritten")
async def test_a_change_during_the_embedding_stays(site: Site, app: App, setting: AppAnnotationSetting) -> None:
    """The annotation is changed and indexed anew after the handler has read the old question."""
    (annotation,) = await add_annotations(site, app, "An old question?")
    event = added(site, annotation, setting)

    async def change(step: int) -> None:
        if step == 1:
            await _change(site, annotation, OFTEN)
            await site.run(index_updated_annotation, _updated(event))

    assert await site.run(index_added_annotation, event, after_step=change) == {"indexed": 0}
    assert await questions(site, app.id) == [OFTEN]


@pytest.mark.requirement(SECTION, "annotation.added: no one changes the question between its check and its vector")
async def test_the_question_is_locked_while_its_vector_is_written(
    site: Site, app: App, setting: AppAnnotationSetting
) -> None:
    """A change of the question waits for the end of the last step, and of no other step."""
    (annotation,) = await add_annotations(site, app, OFTEN)
    locked: list[bool] = []

    async def try_to_change(step: int) -> None:
        try:
            async with site.transaction() as session:
                query = select(MessageAnnotation.id).where(MessageAnnotation.id == annotation.id)
                await session.execute(query.with_for_update(nowait=True, key_share=True))
        except OperationalError:
            locked.append(True)
        else:
            locked.append(False)
        assert len(locked) == step

    await site.run(index_added_annotation, added(site, annotation, setting), before_commit=try_to_change)
    assert len(locked) > 1
    assert not any(locked[:-1])
    assert locked[-1]


@pytest.mark.requirement(SECTION, "annotation.added: a deletion of its app waits for a step that writes")
async def test_the_app_is_deleted_while_a_step_is_going_to_write(
    site: Site, app: App, setting: AppAnnotationSetting
) -> None:
    """The collection, which the clean-up would drop, does not exist yet. Nothing is left in the end."""
    (annotation,) = await add_annotations(site, app, OFTEN)
    deleting: list[asyncio.Task[JSON]] = []

    async def delete() -> JSON:
        await site.delete(App, id=app.id)
        return await site.run(clean_app, AppDeleted(tenant_id=site.tenant_id, app_id=app.id))

    class Slow(PgVectorIndex):
        async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
            deleting.append(asyncio.create_task(delete()))
            await wait_for_lock_or_end(site, deleting[0])
            await super().create(session, collection, dimensions)

    slow = replace(site, platform=replace(site.platform, vectors=Slow()))
    assert await slow.run(index_added_annotation, added(site, annotation, setting)) == {"indexed": 1}
    await deleting[0]
    assert await indexed(site, app.id) == {}


@pytest.mark.requirement(SECTION, "annotation.updated: a blank question is not found any more")
async def test_a_blank_question_leaves_the_index(site: Site, app: App, setting: AppAnnotationSetting) -> None:
    (annotation,) = await add_annotations(site, app, OFTEN)
    event = added(site, annotation, setting)
    await site.run(index_added_annotation, event)
    await _change(site, annotation, None)
    assert await site.run(index_updated_annotation, _updated(event)) == {"indexed": 0}
    assert await questions(site, app.id) == []


@pytest.mark.requirement(SECTION, "annotation.deleted: the entry goes, and stays away")
async def test_a_deleted_annotation_leaves_the_index(of_store: Site) -> None:
    """With each store: the collection is the app's own, or the one of the binding. Neighbours stay."""
    site = of_store
    app = await add_app(site)
    setting = await add_setting(site, app)
    gone, kept = await add_annotations(site, app, OFTEN, "Who pays the train?")
    for one in (gone, kept):
        await site.run(index_added_annotation, added(site, one, setting))
    async with site.transaction() as session:
        binding = await session.get_one(DatasetCollectionBinding, setting.collection_binding_id)
        shares = site.platform.vectors.shares_collections
        collection = binding.collection_name if shares else site.collection(app.id)
        assert await site.platform.vectors.count(session, collection, dataset_id=app.id) == 2
    await site.delete(MessageAnnotation, id=gone.id)

    assert await site.run(remove_deleted_annotation, deleted(site, gone, setting)) == {"removed": 1}
    assert await site.run(remove_deleted_annotation, deleted(site, gone, setting)) == {"removed": 0}
    assert await site.run(index_added_annotation, added(site, gone, setting)) == {"skipped": "the annotation is gone"}

    async with site.transaction() as session:
        assert await site.platform.vectors.count(session, collection, dataset_id=app.id) == 1
        later = (await session.scalars(select(outbox.c.due_at))).all()
    # A store outside the database may still get an old request, so the deletion is repeated there.
    assert len(later) == (0 if site.platform.vectors.transactional else 2)


@pytest.mark.requirement(SECTION, "annotation.deleted: sent before its commit, it waits for it")
async def test_a_deletion_that_is_not_committed_yet_is_retried(
    site: Site, app: App, setting: AppAnnotationSetting
) -> None:
    """While the row is there, nothing is deleted."""
    (annotation,) = await add_annotations(site, app, OFTEN)
    await site.run(index_added_annotation, added(site, annotation, setting))
    with pytest.raises(Retry, match="still has its row") as found:
        await site.run(remove_deleted_annotation, deleted(site, annotation, setting))
    assert found.value.reason is Reason.ROW_STILL_EXISTS
    assert await questions(site, app.id) == [OFTEN]


@pytest.mark.requirement(SECTION, "annotation.added: a deletion during the embedding wins")
async def test_a_deletion_during_the_embedding_wins(site: Site, app: App, setting: AppAnnotationSetting) -> None:
    """The row is deleted and cleaned up after the handler has read it. Nothing is written."""
    (annotation,) = await add_annotations(site, app, OFTEN)

    async def delete(step: int) -> None:
        if step == 1:
            await site.delete(MessageAnnotation, id=annotation.id)
            await site.run(remove_deleted_annotation, deleted(site, annotation, setting))

    event = added(site, annotation, setting)
    assert await site.run(index_added_annotation, event, after_step=delete) == {"indexed": 0}
    assert await questions(site, app.id) == []


@pytest.mark.requirement(SECTION, "annotation.added: the app's present setting decides")
async def test_the_setting_decides(site: Site, app: App, setting: AppAnnotationSetting) -> None:
    """The app does not answer from its annotations any more, or is deleted, or another model is being chosen."""
    (annotation,) = await add_annotations(site, app, OFTEN)
    event = added(site, annotation, setting)

    async def choose_another(step: int) -> None:
        if step == 1:
            await site.delete(AppAnnotationSetting, app_id=app.id)
            await add_setting(site, app)

    with pytest.raises(Retry, match="model of the app's annotations was changed"):
        await site.run(index_added_annotation, event, after_step=choose_another)
    assert await questions(site, app.id) == []
    assert await site.run(index_added_annotation, event) == {"indexed": 1}

    await site.delete(AppAnnotationSetting, app_id=app.id)
    off = {"skipped": "the app does not answer from its annotations"}
    assert await site.run(index_updated_annotation, _updated(event)) == off
    await site.delete(App, id=app.id)
    gone = {"skipped": "the app does not exist, or is not in use"}
    assert await site.run(index_added_annotation, event) == gone


@pytest.mark.requirement(SECTION, "annotation.added: a model that is not configured is a dead letter that names it")
async def test_an_unknown_model_is_refused(site: Site, app: App) -> None:
    setting = await add_setting(site, app, "openai", "text-embedding-3-large")
    (annotation,) = await add_annotations(site, app, OFTEN)
    with pytest.raises(Permanent, match="'text-embedding-3-large' of 'openai' is not configured"):
        await site.run(index_added_annotation, added(site, annotation, setting))


async def test_an_annotation_of_another_app_is_refused(site: Site, app: App, setting: AppAnnotationSetting) -> None:
    """Also within a tenant: an event of one app says nothing about the annotations of another."""
    (annotation,) = await add_annotations(site, await add_app(site), OFTEN)
    with pytest.raises(Permanent, match="belongs to another app"):
        await site.run(index_added_annotation, added(site, annotation, setting, app_id=app.id))
    removal = deleted(site, annotation, setting).model_copy(update={"app_id": app.id})
    with pytest.raises(Permanent, match="belongs to another app"):
        await site.run(remove_deleted_annotation, removal)


async def test_an_id_that_is_none_is_refused(site: Site, app: App, setting: AppAnnotationSetting) -> None:
    (annotation,) = await add_annotations(site, app, OFTEN)
    event = added(site, annotation, setting, annotation_id=f"{uuid4()}'")
    with pytest.raises(Permanent, match="is not a UUID"):
        await site.run(index_added_annotation, event)
