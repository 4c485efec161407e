"""A deleted app leaves nothing: rows of every table, files and its annotation index."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from schemas import AppDeleted
from streams.agents.apps.cleanup import clean_app
from streams.agents.repetition import REPEAT_AFTER
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.dify.annotations.index import annotation_collection
from streams.dify.cleanup import bounded_deletion, messages, workflow_data
from streams.dify.cleanup.app import APP_TABLES
from streams.dify.errors import LeftBehindError
from streams.dify.models import (
    App,
    AppAnnotationSetting,
    AppDatasetJoin,
    DatasetCollectionBinding,
    EndUser,
    InstalledApp,
    Message,
    MessageFeedback,
    UploadFile,
    Workflow,
    WorkflowNodeExecution,
    metadata,
)
from streams.dify.uploads import files
from streams.dify.vector_stores.port import Entry, collection_name
from tests.support.platform.app_leftovers import add_full_app, add_talk, repetitions, run_steps
from tests.support.platform.app_rows import add_app, make_row
from tests.support.platform.cleanup_steps import left, stored
from tests.support.platform.handler_runs import Site
from tests.support.platform.store_fixtures import of_store

__all__ = ["of_store"]

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
SECTION = "The whole domain"
ALL = "app.deleted: rows of every table, files in the storage and the annotation index go, and nothing of another app"
STEPS = "app.deleted: bounded steps, which end also if a row cannot be deleted"


def test_every_table_that_names_an_app_is_cleaned() -> None:
    named = {table.name for table in metadata.sorted_tables if "app_id" in table.c}
    assert {table.name for table in APP_TABLES} == named | {"tag_bindings"}


@pytest.mark.requirement(SECTION, ALL)
async def test_everything_of_the_app_goes_and_nothing_else(site: Site) -> None:
    """A neighbour keeps everything. A repetition, which comes 15 minutes later, finds nothing."""
    neighbour, full = await add_full_app(site), await add_full_app(site)
    kept, kept_files = await neighbour.left(site), neighbour.files
    had = await full.left(site)
    assert {table.name for table in APP_TABLES} < set(had)
    await site.delete(App, id=full.app.id)
    event = full.deleted()

    (result,), others = await run_steps(site, event)

    assert result["done"]
    removed = dict(result["removed"])
    assert removed.pop("upload_files") == 3
    assert removed.pop("collections") == had.pop("vectors") == 1
    assert removed == had
    assert others == []
    assert await full.left(site) == {}
    assert await neighbour.left(site) == kept
    assert stored(site) == kept_files
    ((repetition, due),) = await repetitions(site)
    assert (type(repetition), due) == (AppDeleted, event.occurred_at + REPEAT_AFTER)
    assert await site.run(clean_app, repetition) == {"done": True, "removed": {}}


@pytest.mark.requirement(SECTION, "app.deleted: what a run wrote after the clean-up is deleted by one repetition")
async def test_what_a_run_writes_after_the_clean_up_goes_too(site: Site) -> None:
    """The repetition is the last one."""
    full = await add_full_app(site)
    await site.delete(App, id=full.app.id)
    old = full.deleted().model_copy(update={"occurred_at": datetime.now(tz=UTC) - REPEAT_AFTER - timedelta(seconds=1)})
    await run_steps(site, old)
    await add_talk(site, full.app)
    await site.add(make_row(WorkflowNodeExecution, app_id=full.app.id, tenant_id=site.tenant_id))

    await run_steps(site, old)

    assert await full.left(site) == {}
    assert stored(site) == set()
    assert await repetitions(site) == []


@pytest.mark.requirement(SECTION, STEPS)
async def test_a_large_app_goes_in_bounded_steps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, rows=3, owners=2, stored=2)
    full = await add_full_app(site)
    for _ in range(2):
        await add_talk(site, full.app)
    await site.add(*(make_row(EndUser, app_id=full.app.id, tenant_id=site.tenant_id) for _ in range(7)))
    await site.delete(App, id=full.app.id)

    results, _ = await run_steps(site, full.deleted())

    assert [result["done"] for result in results] == [False] * (len(results) - 1) + [True]
    assert len(results) > 4
    assert all(count <= 6 for result in results for count in result["removed"].values()), results
    assert sum(result["removed"].get("end_users", 0) for result in results) == 8
    assert await full.left(site) == {}
    assert stored(site) == set()


@pytest.mark.requirement(SECTION, STEPS)
@pytest.mark.parametrize("action", ["return null", "raise exception ''kept''"])
async def test_a_row_that_cannot_be_deleted_stops_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The platform repeated the same deletion for ever. Here the rest goes, and the dead letter names what is left.

    A message stays with the part that cannot be deleted, so that both are found again.
    """
    _limit(monkeypatch, rows=3, owners=2, stored=2)
    full = await add_full_app(site)
    await add_talk(site, full.app)
    await site.delete(App, id=full.app.id)
    async with site.transaction() as session:
        await session.execute(text(f"create function keep() returns trigger language plpgsql as 'begin {action}; end'"))
        for table, row_id in (("message_feedbacks", full.talk.message_id), ("end_users", full.app.id)):
            column = "message_id" if table == "message_feedbacks" else "app_id"
            await session.execute(
                text(
                    f"create trigger keep before delete on {table} for each row when (old.{column} = '{row_id}')"
                    " execute function keep()"
                )
            )

    with pytest.raises(LeftBehindError, match="message_feedbacks, messages, conversations, end_users"):
        await run_steps(site, full.deleted())

    kept = {"message_feedbacks": 1, "messages": 1, "conversations": 1, "end_users": 1}
    assert await left(site, app_id=full.app.id) == kept
    async with site.transaction() as session:
        for table in ("message_feedbacks", "end_users"):
            await session.execute(text(f"drop trigger keep on {table}"))
    await run_steps(site, full.deleted())
    assert await full.left(site) == {}


@pytest.mark.requirement(SECTION, "app.deleted: an app that still has its row is retried, and dies as row-still-exists")
async def test_an_app_that_still_has_its_row_is_retried(site: Site) -> None:
    """The deletion is not committed yet, or was rolled back."""
    full = await add_full_app(site)
    had = await full.left(site)
    with pytest.raises(Retry, match="still has its row") as found:
        await site.run(clean_app, full.deleted())
    assert found.value.reason is Reason.ROW_STILL_EXISTS
    assert await full.left(site) == had


@pytest.mark.requirement(SECTION, "app.deleted: an event of another tenant changes nothing and is a dead letter")
@pytest.mark.parametrize("deleted", [False, True])
async def test_an_event_of_another_tenant_deletes_nothing(site: Site, *, deleted: bool) -> None:
    """Also if the app's row is deleted, and only what it has left says whose it is."""
    full = await add_full_app(site)
    if deleted:
        await site.delete(App, id=full.app.id)
    had, keys = await full.left(site), stored(site)
    forged = AppDeleted(app_id=full.app.id, tenant_id=str(uuid4()))
    with pytest.raises(Permanent, match="belongs to another tenant"):
        await site.run(clean_app, forged)
    assert (await full.left(site), stored(site)) == (had, keys)


@pytest.mark.requirement(SECTION, "app.deleted: the id of a dataset deletes no vectors")
async def test_the_id_of_a_dataset_is_refused(site: Site) -> None:
    """The index of a dataset has a name of the same kind."""
    full = await add_full_app(site)
    await site.delete(App, id=full.app.id)
    await site.add_dataset(id=full.app.id)
    with pytest.raises(Permanent, match="is the id of a dataset"):
        await site.run(clean_app, full.deleted())
    assert await site.vectors(full.app.id) == 1


async def test_rows_of_other_tenants_and_other_uses_of_a_file_stay(site: Site) -> None:
    """A workflow of another tenant under the same id, an installation of another owner, a file that was sent again."""
    app, other = await add_app(site), await add_app(site)
    talk = await add_talk(site, app)
    async with site.transaction() as session:
        upload, sender = (await session.execute(text("select id, created_by from upload_files"))).one()
    again = await add_talk(site, other)
    async with site.transaction() as session:
        await session.execute(
            text(
                "update message_files set upload_file_id = :file, created_by = :sender"
                " where message_id = :message and transfer_method = 'local_file'"
            ),
            {"file": upload, "sender": sender, "message": again.message_id},
        )
    await site.add(
        make_row(Workflow, app_id=app.id),
        make_row(InstalledApp, app_id=other.id, app_owner_tenant_id=str(uuid4())),
        make_row(AppDatasetJoin, app_id=app.id),
    )
    await site.delete(App, id=app.id)

    await run_steps(site, AppDeleted(app_id=app.id, tenant_id=site.tenant_id))

    assert await left(site, app_id=app.id) == {"workflows": 1}
    assert await talk.left(site) == {}
    assert await site.count(InstalledApp) == 1
    assert await site.count(UploadFile, id=str(upload)) == 1
    assert len(stored(site) & talk.files) == 1


@pytest.mark.requirement(SECTION, "app.deleted: in a collection that apps share, only the app's annotations go")
async def test_the_annotations_of_other_apps_stay_in_a_shared_collection(of_store: Site) -> None:
    """Qdrant has one collection per embedding model, pgvector one per app."""
    site, vectors = of_store, of_store.platform.vectors
    binding_id, name = str(uuid4()), collection_name("Vector_index", str(uuid4()))
    known = {"provider_name": "local", "model_name": "m", "type": "annotation", "collection_name": name}
    await site.add(make_row(DatasetCollectionBinding, id=binding_id, **known))
    apps = [await add_app(site) for _ in range(2)]
    collections = []
    for app in apps:
        await site.add(make_row(AppAnnotationSetting, app_id=app.id, collection_binding_id=binding_id))
        async with site.transaction() as session:
            collections.append(await annotation_collection(session, site.platform, app.id, binding_id))
            await vectors.create(session, collections[-1], 3)
            entry = Entry(str(uuid4()), "?", "hash", str(uuid4()), app.id, [1.0, 0.0, 0.0])
            await vectors.upsert(session, collections[-1], [entry])
    await site.delete(App, id=apps[0].id)

    await run_steps(site, AppDeleted(app_id=apps[0].id, tenant_id=site.tenant_id))

    async with site.transaction() as session:
        left_over = [
            await vectors.count(session, collection, dataset_id=app.id)
            for app, collection in zip(apps, collections, strict=True)
        ]
    assert left_over == [0, 1]


@pytest.mark.requirement(SECTION, "app.deleted: clean-ups of one app at the same time do not fail")
async def test_clean_ups_at_the_same_time(site: Site) -> None:
    full = await add_full_app(site)
    await site.delete(App, id=full.app.id)
    results = await asyncio.gather(*(site.run(clean_app, full.deleted()) for _ in range(3)))
    assert [result["done"] for result in results if isinstance(result, dict)] == [True] * 3
    assert await full.left(site) == {}


async def test_an_app_of_an_unknown_tenant_is_cleaned_too(site: Site) -> None:
    """Its installation says whose it was. The following steps get the tenant."""
    full = await add_full_app(site)
    await site.delete(App, id=full.app.id)
    await run_steps(site, AppDeleted(app_id=full.app.id))
    assert await full.left(site) == {}
    ((repetition, _),) = await repetitions(site)
    assert repetition.tenant_id == site.tenant_id


async def test_an_id_that_is_none_is_refused(site: Site) -> None:
    with pytest.raises(Permanent, match="app_id"):
        await site.run(clean_app, AppDeleted(app_id="app-1", tenant_id=site.tenant_id))


@pytest.mark.requirement(SECTION, "app.deleted and conversation.deleted: no step reads a whole large table")
async def test_no_step_reads_a_whole_large_table(site: Site) -> None:
    full, neighbour = await add_full_app(site), await add_full_app(site)
    many = text(
        """
        insert into messages (app_id, conversation_id, inputs, query, message, message_unit_price, answer,
            answer_unit_price, currency, from_source)
        select :app, gen_random_uuid(), '{}', '', '{}', 0, '', 0, 'USD', 'api' from generate_series(1, :count)
        """
    )
    async with site.transaction() as session:
        await session.execute(many, {"app": full.app.id, "count": 700})
        await session.execute(many, {"app": neighbour.app.id, "count": 2000})
        await session.execute(text("analyze"))
    await site.delete(App, id=full.app.id)
    before = await _read_whole(site)
    results, _ = await run_steps(site, full.deleted())
    assert len(results) == 2
    assert await _read_whole(site) == before
    assert await site.count(Message) == 2001
    assert await site.count(MessageFeedback, app_id=neighbour.app.id) == 2


async def _read_whole(site: Site) -> dict[str, int]:
    tables = [
        "messages",
        "message_files",
        "message_feedbacks",
        "message_agent_thoughts",
        "saved_messages",
        "tool_files",
    ]
    async with site.transaction() as session:
        await session.execute(text("select pg_stat_force_next_flush()"))
    async with site.transaction() as session:
        read = text("select relname, seq_tup_read from pg_stat_user_tables where relname = any(:tables)")
        return {row.relname: row.seq_tup_read for row in await session.execute(read, {"tables": tables})}


def _limit(monkeypatch: pytest.MonkeyPatch, *, rows: int, owners: int, stored: int) -> None:
    monkeypatch.setattr(bounded_deletion, "ROWS_PER_STEP", rows)
    for module in (messages, workflow_data):
        monkeypatch.setattr(module, "OWNERS_PER_STEP", owners)
    monkeypatch.setattr(files, "FILES_PER_STEP", stored)
