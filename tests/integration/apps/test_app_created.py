"""A new app is installed once and has one site, whatever is repeated."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import delete, select

from schemas import AppCreated
from streams.agents.apps.app_creation import create_installed_app, create_site_record
from streams.agents.apps.app_row import COMMITTED_WITHIN
from streams.delivery import Permanent, Retry
from streams.dify.models import App, InstalledApp
from streams.dify.models import Site as AppSite
from tests.support.platform.app_rows import add_app, make_row, wait_for_locks
from tests.support.platform.handler_runs import Site

SECTION = "The whole domain"
ONCE = "app.created: one installation and one site per app, whatever is repeated"
HANDLERS = (create_installed_app, create_site_record)


def _created(app: App, account_id: str | None = None, **fields: object) -> AppCreated:
    return AppCreated.model_validate(
        {"app_id": app.id, "tenant_id": app.tenant_id, "account_id": account_id or str(uuid4()), **fields}
    )


async def _site_of(site: Site, app: App) -> AppSite:
    async with site.transaction() as session:
        return (await session.scalars(select(AppSite).where(AppSite.app_id == app.id))).one()


@pytest.mark.requirement(SECTION, ONCE)
async def test_an_app_is_installed_and_has_a_site(site: Site) -> None:
    """The site has the app's name and icon, the account's language and a code of 16 characters."""
    app = await add_app(site, icon_type="emoji", icon="robot", icon_background="#fff")
    event = _created(app, interface_language="zh-Hans")

    assert [await site.run(handler, event) for handler in HANDLERS] == [{"created": True}, {"created": True}]

    async with site.transaction() as session:
        installed = (await session.scalars(select(InstalledApp))).one()
    assert (installed.tenant_id, installed.app_id, installed.app_owner_tenant_id, installed.position) == (
        site.tenant_id,
        app.id,
        site.tenant_id,
        0,
    )
    made = await _site_of(site, app)
    assert (made.title, made.icon_type, made.icon, made.icon_background) == ("helper", "emoji", "robot", "#fff")
    assert (made.default_language, made.customize_token_strategy, made.custom_disclaimer) == (
        "zh-Hans",
        "not_allow",
        "",
    )
    assert (made.created_by, made.updated_by) == (app.created_by, event.account_id)
    assert made.code is not None
    assert len(made.code) == 16
    assert made.code.isalnum()


@pytest.mark.requirement(SECTION, ONCE)
async def test_repetitions_at_the_same_time_change_nothing(site: Site) -> None:
    """The platform sends the signal again, and made a second site or failed with an IntegrityError."""
    app = await add_app(site)
    runs = [site.run(handler, _created(app)) for handler in HANDLERS for _ in range(5)]

    results = await asyncio.gather(*runs)

    assert sorted(str(result) for result in results) == ["{'created': False}"] * 8 + ["{'created': True}"] * 2
    assert await site.count(AppSite, app_id=app.id) == await site.count(InstalledApp, app_id=app.id) == 1


@pytest.mark.requirement(SECTION, "app.created: what the platform's own receivers have done already is found and kept")
async def test_an_event_that_waited_finds_the_work_done(site: Site) -> None:
    app = await add_app(site)
    await site.add(
        make_row(AppSite, app_id=app.id, title="by the platform"),
        make_row(InstalledApp, app_id=app.id, tenant_id=site.tenant_id, position=3),
    )

    assert [await site.run(handler, _created(app)) for handler in HANDLERS] == [{"created": False}] * 2

    assert (await _site_of(site, app)).title == "by the platform"


async def test_an_app_without_a_creator_gets_no_site(site: Site) -> None:
    app = await add_app(site)
    event = AppCreated(app_id=app.id, tenant_id=site.tenant_id)

    assert await site.run(create_site_record, event) == {"skipped": "no account created the app"}
    assert await site.run(create_installed_app, event) == {"created": True}

    assert await site.count(AppSite) == 0


async def test_an_account_without_a_language_gets_the_default(site: Site) -> None:
    app = await add_app(site)

    await site.run(create_site_record, _created(app))

    assert (await _site_of(site, app)).default_language == "en-US"


@pytest.mark.requirement(SECTION, "app.created: an app that is deleted meanwhile gets neither")
async def test_the_deletion_of_the_app_wins(site: Site) -> None:
    """The deletion is not committed when the handlers start. They wait for it."""
    app = await add_app(site)
    old = _created(app, occurred_at=datetime.now(tz=UTC) - COMMITTED_WITHIN)
    async with site.transaction() as session:
        await session.execute(delete(App).where(App.id == app.id))
        runs = asyncio.gather(*(site.run(handler, old) for handler in HANDLERS))
        await wait_for_locks(site, 2)
    assert await runs == [{"skipped": "the app was deleted"}] * 2

    assert await site.count(AppSite) == await site.count(InstalledApp) == 0


@pytest.mark.requirement(SECTION, "app.created: an event that is earlier than the commit of its app waits for it")
async def test_an_event_before_the_commit_of_its_app_waits(site: Site) -> None:
    event = AppCreated(app_id=str(uuid4()), tenant_id=site.tenant_id, account_id=str(uuid4()))
    for handler in HANDLERS:
        with pytest.raises(Retry, match="has no row"):
            await site.run(handler, event)
    await add_app(site, id=event.app_id)
    assert [await site.run(handler, event) for handler in HANDLERS] == [{"created": True}] * 2


@pytest.mark.requirement(SECTION, "app.created: what is wrong in the event is a dead letter at once")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"app_id": "app-1"}, "app_id"),
        ({"account_id": "account-1"}, "account_id"),
        ({"interface_language": "e" * 256}, "interface_language"),
        ({"tenant_id": str(uuid4())}, "belongs to another tenant than the event"),
    ],
)
async def test_a_wrong_event_is_refused_for_good(site: Site, fields: dict[str, str], message: str) -> None:
    app = await add_app(site)
    with pytest.raises(Permanent, match=message):
        await site.run(create_site_record, _created(app, **fields))
    assert await site.count(AppSite) == 0
