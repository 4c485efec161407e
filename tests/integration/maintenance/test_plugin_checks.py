"""The search for tenants whose plugins are to be checked: on time, late, in steps, twice at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from schemas import Event, PluginChecksRequested, PluginUpgradeCheckRequested
from streams.agents.maintenance import plugin_checks
from streams.agents.maintenance.plugin_checks import request_plugin_checks
from streams.delivery import Permanent
from streams.dify.models import TenantPluginAutoUpgradeStrategy
from streams.dify.plugins import due_checks
from tests.support.platform.handler_runs import CrashError, Site, open_site

SECTION = "Schedules"
SERVICES = {"plugin_daemon_url": "http://127.0.0.1:1", "marketplace_url": "http://127.0.0.1:1"}


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path, **SERVICES) as opened:
        yield opened


def seconds_of_day(ago: timedelta) -> int:
    return int((datetime.now(tz=UTC) - ago).timestamp()) % 86_400


async def add_tenants(site: Site, agos: Sequence[timedelta], setting: str = "latest") -> list[str]:
    """Add one tenant for each time, which was so long ago. Returns their ids."""
    ids = [str(uuid4()) for _ in agos]
    await site.add(
        *(
            TenantPluginAutoUpgradeStrategy(
                tenant_id=id_,
                strategy_setting=setting,
                upgrade_mode="exclude",
                upgrade_time_of_day=seconds_of_day(ago),
                exclude_plugins=["a/b"],
                include_plugins=[],
            )
            for id_, ago in zip(ids, agos, strict=True)
        )
    )
    return ids


async def ended(site: Site, ago: timedelta) -> None:
    """Record that the last run ended its period so long ago."""
    statement = text("insert into streams.plugin_check_runs values (1, clock_timestamp() - cast(:ago as interval))")
    async with site.transaction() as session:
        await session.execute(statement, {"ago": ago})


async def check(site: Site) -> list[str | None]:
    """Run all steps of one run. Returns the tenants whose check was published."""
    events: list[Event] = [PluginChecksRequested()]
    checked: list[str | None] = []
    while events:
        await site.run(request_plugin_checks, events.pop())
        published = await site.published()
        events += [one for one in published if isinstance(one, PluginChecksRequested)]
        checked += [one.tenant_id for one in published if isinstance(one, PluginUpgradeCheckRequested)]
    return checked


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: each tenant's check is published with its strategy")
async def test_the_check_of_a_tenant_whose_time_has_come(site: Site) -> None:
    """Tenants whose time comes later, or that have switched the upgrades off, get none."""
    [due] = await add_tenants(site, [timedelta(minutes=5)])
    await add_tenants(site, [timedelta(hours=-1)])
    await add_tenants(site, [timedelta(minutes=5)], setting="disabled")
    assert await site.run(request_plugin_checks, PluginChecksRequested()) == {"done": True, "requested": 1}
    [event] = await site.published()
    assert isinstance(event, PluginUpgradeCheckRequested)
    assert (event.tenant_id, event.strategy_setting, event.upgrade_mode) == (due, "latest", "exclude")
    assert (event.exclude_plugins, event.include_plugins) == (["a/b"], [])
    assert await check(site) == []


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: the first run does not check the tenants of the whole day")
async def test_the_first_run_looks_back_for_one_interval(site: Site) -> None:
    """The platform's own check has done the earlier ones. Their turn is the next day."""
    due, *_ = await add_tenants(site, [timedelta(minutes=14), timedelta(minutes=16), timedelta(hours=20)])
    assert await check(site) == [due]


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: no tenant is skipped when a run is late")
async def test_a_run_that_is_late_checks_everyone(site: Site) -> None:
    """No run for seven hours. Today the platform skips those whose time came 30 s before the run, or earlier."""
    await ended(site, timedelta(hours=7))
    due = await add_tenants(site, [timedelta(minutes=1), timedelta(minutes=40), timedelta(hours=6, minutes=59)])
    await add_tenants(site, [timedelta(hours=8)])
    assert sorted(map(str, await check(site))) == sorted(due)
    assert await check(site) == []


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: no tenant is checked twice a day, also if its time changes")
async def test_a_tenant_that_changes_its_time_is_checked_once(site: Site) -> None:
    """It was checked today. The next day it is due again, once, however many days were missed."""
    now = datetime.now(tz=UTC)
    [tenant] = await add_tenants(site, [timedelta(minutes=2)])
    assert await check(site) == [tenant]
    async with site.transaction() as session:
        await session.execute(
            text("update tenant_plugin_auto_upgrade_strategies set upgrade_time_of_day = :seconds"),
            {"seconds": seconds_of_day(timedelta(seconds=30))},
        )
    assert await check(site) == [] or (now - timedelta(minutes=2)).date() != datetime.now(tz=UTC).date()
    async with site.transaction() as session:
        await session.execute(text("update streams.plugin_checks set day = day - 4"))
    assert await check(site) == [tenant]
    assert await check(site) == []


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: long lists are walked in steps")
async def test_many_tenants_are_checked_in_steps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three and steps of four: every tenant once, and no step publishes more than a page above its limit."""
    monkeypatch.setattr(due_checks, "PAGE", 3)
    monkeypatch.setattr(plugin_checks, "STEP_TENANTS", 4)
    due = await add_tenants(site, [timedelta(minutes=1)] * 20)
    event, checked, steps = PluginChecksRequested(), list[str | None](), 0
    while True:
        result = await site.run(request_plugin_checks, event)
        assert isinstance(result, dict)
        published, steps = await site.published(), steps + 1
        found = [one.tenant_id for one in published if isinstance(one, PluginUpgradeCheckRequested)]
        assert len(found) == result["requested"]
        assert len(found) <= 4 + 3
        checked += found
        following = [one for one in published if isinstance(one, PluginChecksRequested)]
        if result["done"]:
            assert following == []
            break
        [event] = following
    assert sorted(map(str, checked)) == sorted(due)
    assert steps > 3


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: a killed step publishes nothing and marks nothing")
async def test_a_killed_step_is_repeated(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is killed before its commit. Its repetition checks the same tenants, and the run ends as it began."""
    due = await add_tenants(site, [timedelta(minutes=1)] * 5)
    publish = plugin_checks._publish

    async def die(*_: object) -> None:
        raise CrashError

    monkeypatch.setattr(plugin_checks, "_publish", die)
    with pytest.raises(CrashError):
        await site.run(request_plugin_checks, PluginChecksRequested())
    monkeypatch.setattr(plugin_checks, "_publish", publish)
    assert sorted(map(str, await check(site))) == sorted(due)


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: two runs at once check each tenant once")
async def test_two_runs_at_once(site: Site) -> None:
    due = await add_tenants(site, [timedelta(minutes=1)] * 30)
    await asyncio.gather(*(site.run(request_plugin_checks, PluginChecksRequested()) for _ in range(3)))
    checked = [one.tenant_id for one in await site.published()]
    assert sorted(map(str, checked)) == sorted(due)


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: the slot of a run follows its steps")
async def test_the_slot_follows_the_steps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due_checks, "PAGE", 1)
    monkeypatch.setattr(plugin_checks, "STEP_TENANTS", 1)
    await add_tenants(site, [timedelta(minutes=1)] * 2)
    event = PluginChecksRequested()
    async with site.transaction() as session:
        await session.execute(
            text(
                "insert into streams.slots (schedule, slot, kind, status, event_id) values ('a', now(), 'timer', "
                "'started', :id)"
            ),
            {"id": event.event_id},
        )
    await site.run(request_plugin_checks, event)
    [following] = [one for one in await site.published() if isinstance(one, PluginChecksRequested)]
    async with site.transaction() as session:
        current: UUID = (await session.execute(text("select event_id from streams.slots"))).scalar_one()
    assert current == following.event_id != event.event_id


async def test_a_deployment_without_the_services_says_so(database_url: str, tmp_path: Path) -> None:
    async with open_site(database_url, tmp_path) as site:
        with pytest.raises(Permanent, match="STREAMS_PLUGIN_DAEMON_URL"):
            await site.run(request_plugin_checks, PluginChecksRequested())
