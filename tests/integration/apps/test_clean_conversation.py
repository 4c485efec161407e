"""A deleted conversation leaves nothing: messages with all their parts, variables, files."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text

from schemas import AnnotationDeleted, AppDeleted, ConversationDeleted
from streams.agents.apps.cleanup import clean_app, clean_conversation
from streams.agents.repetition import REPEAT_AFTER
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.dify.cleanup import messages
from streams.dify.errors import LeftBehindError
from streams.dify.models import App, AppAnnotationSetting, Conversation
from tests.support.platform.app_leftovers import Talk, add_talk, repetitions, run_steps
from tests.support.platform.app_rows import add_app, awaited_locks, make_row, wait_for_locks
from tests.support.platform.cleanup_steps import crash_at_each_statement, stored
from tests.support.platform.handler_runs import DirectWork, Site

SECTION = "The whole domain"
ALL = "conversation.deleted: messages with all their parts, variables and files go, and nothing of another conversation"


def _deleted(site: Site, talk: Talk) -> ConversationDeleted:
    return ConversationDeleted(conversation_id=talk.id, tenant_id=site.tenant_id)


@pytest.mark.requirement(SECTION, ALL)
async def test_everything_of_the_conversation_goes_and_nothing_else(site: Site) -> None:
    """The sender may know no tenant. A repetition, which comes 15 minutes later, finds nothing."""
    app = await add_app(site)
    neighbour, talk = await add_talk(site, app), await add_talk(site, app)
    kept, had = await neighbour.left(site), await talk.left(site)
    await site.delete(Conversation, id=talk.id)
    event = ConversationDeleted(conversation_id=talk.id)

    (result,), others = await run_steps(site, event)

    assert result == {"done": True, "removed": {**had, "upload_files": 1}}
    assert others == []
    assert await talk.left(site) == {}
    assert await neighbour.left(site) == kept
    assert stored(site) == neighbour.files
    ((repetition, due),) = await repetitions(site)
    assert (due, repetition.tenant_id) == (event.occurred_at + REPEAT_AFTER, site.tenant_id)
    assert await site.run(clean_conversation, repetition) == {"done": True, "removed": {}}


@pytest.mark.requirement(SECTION, "conversation.deleted: annotations are removed from the annotation index too")
async def test_its_annotations_are_removed_from_the_index(site: Site) -> None:
    """Today their vectors stay, and answer questions without an annotation."""
    app, binding_id = await add_app(site), str(uuid4())
    talk = await add_talk(site, app)
    await site.add(make_row(AppAnnotationSetting, app_id=app.id, collection_binding_id=binding_id))
    await site.delete(Conversation, id=talk.id)

    _, others = await run_steps(site, _deleted(site, talk))

    (one,) = others
    assert isinstance(one, AnnotationDeleted)
    assert (one.annotation_id, one.app_id, one.collection_binding_id, one.tenant_id) == (
        talk.annotation_id,
        app.id,
        binding_id,
        site.tenant_id,
    )


@pytest.mark.requirement(SECTION, "conversation.deleted: bounded steps, which end also if a row cannot be deleted")
async def test_a_large_conversation_goes_in_bounded_steps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message cannot be deleted. The others go, and the error names what is left."""
    monkeypatch.setattr(messages, "OWNERS_PER_STEP", 2)
    app = await add_app(site)
    talk, *others = [await add_talk(site, app) for _ in range(4)]
    async with site.transaction() as session:
        for other in others:
            for table in ("messages", "message_feedbacks", "message_annotations"):
                await session.execute(
                    text(f"update {table} set conversation_id = :one where conversation_id = :other"),
                    {"one": talk.id, "other": other.id},
                )
        await session.execute(
            text("create function keep() returns trigger language plpgsql as 'begin return null; end'")
        )
        await session.execute(
            text(
                "create trigger keep before delete on messages for each row"
                f" when (old.id = '{talk.message_id}') execute function keep()"
            )
        )
    await site.delete(Conversation, id=talk.id)

    with pytest.raises(LeftBehindError, match=r": messages$"):
        await run_steps(site, _deleted(site, talk))

    assert await talk.left(site) == {"messages": 1}
    async with site.transaction() as session:
        await session.execute(text("drop trigger keep on messages"))
    await run_steps(site, _deleted(site, talk))
    assert await talk.left(site) == {}


@pytest.mark.requirement(
    SECTION, "conversation.deleted: clean-ups of a conversation and of its app at the same time do not fail"
)
async def test_clean_ups_wait_for_each_other(site: Site) -> None:
    """The first one has not committed. The others wait before they lock a row, so there is no deadlock."""
    app = await add_app(site)
    talk = await add_talk(site, app)
    await site.delete(Conversation, id=talk.id)
    await site.delete(App, id=app.id)
    of_app, event = AppDeleted(app_id=app.id, tenant_id=site.tenant_id), _deleted(site, talk)
    async with site.transaction() as session:
        await clean_conversation.function(event, DirectWork(site, session))
        work = ((clean_conversation, event), (clean_app, of_app))
        others = [asyncio.create_task(site.run(handler, one)) for handler, one in work]
        await wait_for_locks(site, len(others))
        assert await awaited_locks(session) == ["advisory"]
    results = await asyncio.gather(*others)
    assert [result["done"] for result in results if isinstance(result, dict)] == [True, True]
    assert await talk.left(site) == {}


@pytest.mark.requirement(SECTION, "conversation.deleted: one that still has its row is retried")
async def test_a_conversation_that_still_has_its_row_is_retried(site: Site) -> None:
    talk = await add_talk(site, await add_app(site))
    had = await talk.left(site)
    with pytest.raises(Retry, match="still has its row") as found:
        await site.run(clean_conversation, _deleted(site, talk))
    assert found.value.reason is Reason.ROW_STILL_EXISTS
    assert await talk.left(site) == had


@pytest.mark.requirement(SECTION, "conversation.deleted: an event of another tenant changes nothing")
@pytest.mark.parametrize("deleted", [False, True])
async def test_an_event_of_another_tenant_deletes_nothing(site: Site, *, deleted: bool) -> None:
    talk = await add_talk(site, await add_app(site))
    if deleted:
        await site.delete(Conversation, id=talk.id)
    had = await talk.left(site)
    with pytest.raises(Permanent, match="belongs to another tenant"):
        await site.run(clean_conversation, ConversationDeleted(conversation_id=talk.id, tenant_id=str(uuid4())))
    assert await talk.left(site) == had
    assert stored(site) == talk.files


@pytest.mark.requirement(SECTION, "conversation.deleted: a worker killed at any statement loses nothing")
async def test_a_worker_killed_at_any_statement(site: Site) -> None:
    app = await add_app(site)
    neighbour, talk = await add_talk(site, app), await add_talk(site, app)
    kept = await neighbour.left(site)
    await site.delete(Conversation, id=talk.id)

    assert await crash_at_each_statement(site, _deleted(site, talk)) > 20

    assert await talk.left(site) == {}
    assert await neighbour.left(site) == kept
    assert stored(site) == neighbour.files
