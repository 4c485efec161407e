"""Old messages of sandbox tenants and of apps that do not exist go, with all their parts; others stay."""

from dataclasses import replace
from uuid import uuid4

import pytest

from schemas import MessagesCleanupRequested
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.models import App, AppAnnotationSetting, Message, MessageAnnotation
from streams.dify.retention import messages
from tests.integration.maintenance.retention_runs import Retention, days_ago
from tests.support.fakes.json_api import GARBAGE, NOTHING, Asked, JsonApi, Reply
from tests.support.platform.app_leftovers import MESSAGE_PARTS, Talk, add_talk
from tests.support.platform.app_rows import add_app, make_row
from tests.support.platform.cleanup_steps import stored

SECTION = "Schedules"
OLD, YOUNG = 31, 29


async def _talk(retention: Retention, days: float, tenant_id: str | None = None) -> Talk:
    """Add a conversation with a message of this age, of an app of a tenant."""
    site = replace(retention.site, tenant_id=tenant_id or retention.site.tenant_id)
    return await add_talk(site, await add_app(site), created_at=days_ago(days), query="Who?")


async def _left(retention: Retention, talk: Talk) -> set[str]:
    """Return the names of the tables that have rows of the message."""
    kinds = (*MESSAGE_PARTS, MessageAnnotation)
    found = {kind.__tablename__ for kind in kinds if await retention.site.count(kind, message_id=talk.message_id)}
    return found | ({"messages"} if await retention.site.count(Message, id=talk.message_id) else set())


@pytest.mark.requirement(SECTION, "clean-messages: messages of sandbox tenants go with all parts and files")
async def test_messages_of_sandbox_tenants_go(
    retention: Retention, plans: dict[str, str], billing: tuple[JsonApi, str]
) -> None:
    """A tenant that pays, one that billing does not know, and young messages keep theirs. Repeated, nothing changes."""
    server, url = billing
    paying, unknown = str(uuid4()), str(uuid4())
    plans |= {retention.site.tenant_id: "sandbox", paying: "professional"}
    old, older, young = [await _talk(retention, days) for days in (OLD, 50, YOUNG)]
    paid, foreign = await _talk(retention, OLD, paying), await _talk(retention, OLD, unknown)
    asked_for = retention.with_billing(url)

    removed = await asked_for.run(MessagesCleanupRequested())

    assert removed["messages"] == 2
    assert asked_for.results == [{"done": True, "removed": removed, "kept": {"messages": 2}}]
    for talk in (old, older):
        assert await _left(retention, talk) == set()
    for talk in (young, paid, foreign):
        assert len(await _left(retention, talk)) == 8
    assert stored(retention.site) == young.files | paid.files | foreign.files
    assert await asked_for.run(MessagesCleanupRequested()) == {}
    asked = [(one.method, one.path) for one in server.requests[:3]]
    assert sorted(asked) == [("GET", f"/subscription/info?tenant_id={one}") for one in sorted([*plans, unknown])]
    assert server.requests[0].headers["billing-api-secret-key"] == "billing-key"


@pytest.mark.requirement(SECTION, "clean-messages: annotations stay, and answer as before")
async def test_annotations_stay(retention: Retention, plans: dict[str, str], billing: tuple[JsonApi, str]) -> None:
    """Today they go, and their vectors answer without them. One without a question gets the message's."""
    plans[retention.site.tenant_id] = "sandbox"
    talk = await _talk(retention, OLD)
    await retention.site.add(
        make_row(AppAnnotationSetting, app_id=talk.app_id, collection_binding_id=str(uuid4())),
        make_row(MessageAnnotation, app_id=talk.app_id, message_id=talk.message_id, question="And where?"),
    )
    removed = await retention.with_billing(billing[1]).run(MessagesCleanupRequested())
    assert removed["annotations detached"] == 2
    rows = await retention.sql("select question, message_id, conversation_id from message_annotations order by 1")
    assert [tuple(row) for row in rows] == [("And where?", None, None), ("Who?", None, None)]


@pytest.mark.requirement(SECTION, "clean-messages: without billing no tenant loses a message")
@pytest.mark.requirement(SECTION, "clean-messages: messages whose app does not exist go")
async def test_without_billing_only_orphans_go(retention: Retention) -> None:
    """Today every tenant without billing has the plan sandbox, and an orphan makes the loop endless."""
    mine, orphan, young = [await _talk(retention, days) for days in (OLD, OLD, YOUNG)]
    for talk in (orphan, young):
        await retention.site.delete(App, id=talk.app_id)
    removed = await retention.run(MessagesCleanupRequested())
    assert (removed["messages"], await _left(retention, orphan)) == (1, set())
    assert await _left(retention, mine)
    assert await _left(retention, young)


@pytest.mark.requirement(SECTION, "clean-messages: an unavailable billing service deletes nothing, and is retried")
async def test_a_billing_outage_is_not_a_plan(retention: Retention, billing: tuple[JsonApi, str]) -> None:
    server, url = billing
    replies: list[tuple[Reply, type[Exception]]] = [
        (Reply(503), Unavailable),
        (GARBAGE, Unavailable),
        (NOTHING, Unavailable),
        (Reply(200, b"{}"), Unavailable),
        (Reply(200, b'{"subscription": {"plan": null}}'), Unavailable),
        (Reply(429, b"{}", {"Retry-After": "7"}), Retry),
        (Reply(403), Permanent),
    ]
    talk = await _talk(retention, OLD)
    for reply, error in replies:
        server.answer = lambda _asked, _before, given=reply: given  # type: ignore[misc] # bound at once
        with pytest.raises(error):
            await retention.with_billing(url, seconds=0.3).step(MessagesCleanupRequested())
        assert len(await _left(retention, talk)) == 8


@pytest.mark.requirement(SECTION, "clean-messages: steps make progress while the billing service fails in between")
async def test_a_step_ends_where_the_service_fails(
    retention: Retention, plans: dict[str, str], billing: tuple[JsonApi, str]
) -> None:
    """The service answers for one tenant only, then it asks for a pause."""
    server, url = billing
    tenants = [str(uuid4()) for _ in range(3)]
    plans |= dict.fromkeys(tenants, "sandbox")
    talks = [await _talk(retention, 60 - number, tenant) for number, tenant in enumerate(tenants)]
    answer = server.answer

    def busy(asked: Asked, before: int) -> Reply:
        return answer(asked, before) if before % 2 == 0 else Reply(429, b"{}", {"Retry-After": "7"})

    server.answer = busy
    slow = retention.with_billing(url)
    events = [MessagesCleanupRequested()]
    for talk in talks:
        event = events.pop()
        events += await slow.step(event)  # type: ignore[arg-type] # all are of this class
        assert await _left(retention, talk) == set()
    assert events == []
    assert len(server.requests) == 5


@pytest.mark.requirement(
    SECTION, "clean-messages: bounded steps, each message is passed once, killed steps are repeated"
)
async def test_bounded_steps_end(
    retention: Retention, plans: dict[str, str], billing: tuple[JsonApi, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many messages that stay, with equal times, and one that cannot be deleted, do not repeat the steps."""
    monkeypatch.setattr(messages, "MESSAGES_PER_PAGE", 3)
    monkeypatch.setattr(messages, "OWNERS_PER_STEP", 2)
    paying = str(uuid4())
    plans |= {retention.site.tenant_id: "sandbox", paying: "team"}
    apps = [await add_app(replace(retention.site, tenant_id=one)) for one in plans]
    same = days_ago(40)
    rows = [make_row(Message, id=str(uuid4()), app_id=app.id, created_at=same) for app in apps for _ in range(7)]
    await retention.site.add(*rows)
    stuck = str(rows[0].id)  # type: ignore[attr-defined] # a message
    await retention.sql("create function keep() returns trigger language plpgsql as 'begin return null; end'")
    await retention.sql(
        f"create trigger keep before delete on messages for each row when (old.id = '{stuck}') execute function keep()"
    )
    hurried = retention.with_billing(billing[1]).hurried()

    event = MessagesCleanupRequested()
    (second,) = await hurried.step(event)
    await hurried.step(event)  # the first step again, as after a crash
    await hurried.run(second, steps=25)

    assert {str(row.id) for row in await retention.sql("select id from messages where app_id = :a", a=apps[0].id)} == {
        stuck
    }
    assert await retention.site.count(Message, app_id=apps[1].id) == 7


@pytest.mark.requirement(SECTION, "clean-messages: a file in the folder of another tenant stays")
async def test_files_of_another_tenant_stay(
    retention: Retention, plans: dict[str, str], billing: tuple[JsonApi, str]
) -> None:
    """A message of a sandbox tenant names the file of a tenant that pays."""
    paying = str(uuid4())
    plans |= {retention.site.tenant_id: "sandbox", paying: "team"}
    mine, theirs = await _talk(retention, OLD), await _talk(retention, OLD, paying)
    await retention.sql(
        "update message_files set (upload_file_id, created_by) = (select upload_file_id, created_by"
        " from message_files where message_id = :theirs and upload_file_id is not null) where message_id = :mine"
        " and upload_file_id is not null",
        theirs=theirs.message_id,
        mine=mine.message_id,
    )
    await retention.sql(
        "update message_files set message_id = :mine where message_id = :theirs",
        theirs=theirs.message_id,
        mine=mine.message_id,
    )
    await retention.with_billing(billing[1]).run(MessagesCleanupRequested())
    assert await _left(retention, mine) == set()
    assert theirs.files <= stored(retention.site)
