"""The daily check upgrades the plugins that a tenant's strategy allows, and a failure of a service is a retry."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from schemas import PluginUpgradeCheckRequested
from streams.agents.workspace.plugin_upgrades import upgrade_tenant_plugins
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import ServiceError
from streams.dify.models import TenantPluginAutoUpgradeStrategy
from streams.dify.plugins.manifests import KEY
from streams.settings import Settings
from tests.support.fakes.http_service import (
    NOTHING,
    SILENCE,
    Answer,
    Answering,
    HttpService,
    Request,
    open_http_service,
)
from tests.support.platform.handler_runs import Site, open_site

SECTION, TOPIC = "The whole domain", "plugin.upgrade-check-requested"
BATCH, COUNT = "POST /api/v1/plugins/batch", "POST /api/v1/stats/plugins/install_count"


FAILURES: dict[str, tuple[Answer, type[Exception]]] = {
    "429": (Answer({}, 429, {"Retry-After": "7"}), Retry),
    "500": (Answer({}, 500), Unavailable),
    "nothing": (NOTHING, Unavailable),
    "silence": (SILENCE, Unavailable),
    "garbage": (Answer(b"<html>"), ServiceError),
    "another shape": (Answer([]), ServiceError),
    "a code": (Answer({"code": -500, "message": "{}", "data": None}), ServiceError),
    "401": (Answer({}, 401), ServiceError),
}
"""What a service may answer, and the error of the attempt."""


def _first(answer: Answer, usual: Answering) -> Answering:
    """Answer the first request in this way, and the others as usual."""
    once = iter([answer])
    return lambda request: next(once, None) or usual(request)


@dataclass
class Plugins:
    """A tenant with four plugins: one behind by a patch, one by a minor version, one ahead, one from GitHub."""

    site: Site
    daemon: HttpService
    marketplace: HttpService
    redis: Redis
    name: str = ""
    """The author of the plugins. Other tests share Redis."""
    latest: dict[str, str] = field(default_factory=dict)
    installed: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start_again()

    def start_again(self) -> None:
        """Install the four plugins under names that no cache has."""
        self.name = uuid4().hex[:8]
        self.installed = {
            self.id("patch"): "0.1.9",
            self.id("minor"): "0.1.9",
            self.id("ahead"): "0.2.0",
            self.id("github"): "0.1.9",
        }
        self.sources = {self.id("github"): "github"}
        self.latest = {
            self.id("patch"): "0.1.10",
            self.id("minor"): "0.2.0",
            self.id("ahead"): "0.1.10",
            self.id("github"): "0.1.10",
        }
        self.daemon.answer(self.line("list"), self.list_installed)
        self.daemon.answer(self.line("install/upgrade"), self.upgrade)
        self.marketplace.answer(BATCH, self.list_latest)
        self.marketplace.answer(COUNT, Answer({"code": 0}))

    def id(self, plugin: str) -> str:
        return f"{self.name}/{plugin}"

    def line(self, path: str) -> str:
        return f"{'GET' if path == 'list' else 'POST'} /plugin/{self.site.tenant_id}/management/{path}"

    def list_installed(self, request: Request) -> Answer:
        page, size = int(request.query["page"]), int(request.query["page_size"])
        items = [
            {
                "plugin_id": id_,
                "version": version,
                "plugin_unique_identifier": f"{id_}:{version}@0",
                "source": self.sources.get(id_, "marketplace"),
            }
            for id_, version in self.installed.items()
        ]
        shown = items[(page - 1) * size : page * size]
        return Answer({"code": 0, "message": "success", "data": {"list": shown, "total": len(items)}})

    def upgrade(self, request: Request) -> Answer:
        assert isinstance(request.body, dict)
        plugin, _, version = request.body["new_plugin_unique_identifier"].partition("@")[0].partition(":")
        assert request.body == {
            "original_plugin_unique_identifier": f"{plugin}:{self.installed[plugin]}@0",
            "new_plugin_unique_identifier": f"{plugin}:{version}@1",
            "source": "marketplace",
            "meta": {"plugin_unique_identifier": f"{plugin}:{version}@1"},
        }
        self.installed[plugin] = version
        return Answer({"code": 0, "message": "success", "data": {"all_installed": False, "task_id": "1"}})

    def list_latest(self, request: Request) -> Answer:
        assert isinstance(request.body, dict)
        asked = request.body["plugin_ids"]
        found = [
            {"plugin_id": id_, "latest_version": version, "latest_package_identifier": f"{id_}:{version}@1"}
            for id_, version in self.latest.items()
            if id_ in asked
        ]
        return Answer({"code": 0, "data": {"plugins": found}})

    def event(self, setting: str = "latest", mode: str = "all", **fields: object) -> PluginUpgradeCheckRequested:
        known: dict[str, object] = {
            "tenant_id": self.site.tenant_id,
            "strategy_setting": setting,
            "upgrade_time_of_day": 3600,
            "upgrade_mode": mode,
            "exclude_plugins": [],
            "include_plugins": [],
        }
        return PluginUpgradeCheckRequested.model_validate({**known, **fields})

    async def check(self, event: PluginUpgradeCheckRequested) -> object:
        return await self.site.run(upgrade_tenant_plugins, event)

    def upgraded(self) -> set[str]:
        """Return the plugins that were upgraded, by their short names."""
        return {id_.partition("/")[2] for id_, version in self.installed.items() if version == self.latest.get(id_)}


@pytest.fixture
def services() -> Iterator[tuple[HttpService, HttpService]]:
    with open_http_service() as daemon, open_http_service() as marketplace:
        yield daemon, marketplace


@pytest.fixture
async def plugins(
    settings: Settings, services: tuple[HttpService, HttpService], tmp_path: Path
) -> AsyncIterator[Plugins]:
    url = settings.redis_url.get_secret_value()
    more = {
        "plugin_daemon_url": services[0].url,
        "plugin_daemon_key": "daemon key",
        "marketplace_url": services[1].url,
        "service_request_timeout": 0.5,
        "redis_url": url,
    }
    redis = Redis.from_url(url)
    async with open_site(settings.database_url.get_secret_value(), tmp_path, **more) as site:
        yield Plugins(site, *services, redis)
    await redis.aclose()


@pytest.mark.requirement(SECTION, f"{TOPIC}: all, partial and exclude; fix_only and latest; never a downgrade")
@pytest.mark.parametrize(
    ("setting", "mode", "named", "upgraded"),
    [
        ("latest", "all", [], {"patch", "minor"}),
        ("fix_only", "all", [], {"patch"}),
        ("disabled", "all", [], set()),
        ("latest", "exclude", ["patch"], {"minor"}),
        ("latest", "exclude", [], {"patch", "minor"}),
        ("latest", "partial", ["patch", "ahead", "github", "unknown"], {"patch"}),
        ("latest", "partial", [], set()),
    ],
)
async def test_the_strategy_decides(
    plugins: Plugins, setting: str, mode: str, named: list[str], upgraded: set[str]
) -> None:
    """Only plugins from the marketplace. `partial` with an empty list is nothing, and no service is asked."""
    ids = [plugins.id(one) for one in named]
    result = await plugins.check(plugins.event(setting, mode, exclude_plugins=ids, include_plugins=ids))
    assert isinstance(result, dict)
    assert plugins.upgraded() == upgraded
    assert {id_.partition("/")[2] for id_ in result["upgraded"]} == upgraded
    asked = setting != "disabled" and (mode != "partial" or bool(named))
    assert bool(plugins.daemon.requests) is asked
    assert {request.headers.get("x-api-key") for request in plugins.daemon.requests} <= {"daemon key"}
    assert len(plugins.marketplace.bodies(COUNT)) == len(upgraded)


@pytest.mark.requirement(SECTION, f"{TOPIC}: a repeat upgrades nothing again")
async def test_a_repeat_does_nothing(plugins: Plugins) -> None:
    event = plugins.event()
    await plugins.check(event)
    before = dict(plugins.installed)
    assert await plugins.check(event) == {"checked": 3, "upgraded": []}
    assert plugins.installed == before
    assert len(plugins.daemon.bodies(plugins.line("install/upgrade"))) == 2


@pytest.mark.requirement(SECTION, f"{TOPIC}: manifests are cached under the platform's key for 900 s, null is missing")
async def test_manifests_are_cached(plugins: Plugins) -> None:
    """The second check asks only for what the cache does not have. Unusable values are asked for again."""
    del plugins.latest[plugins.id("ahead")]
    await plugins.check(plugins.event())
    [asked] = plugins.marketplace.bodies(BATCH)
    assert asked == {"plugin_ids": [plugins.id("patch"), plugins.id("minor"), plugins.id("ahead")]}
    stored = await plugins.redis.get(KEY.format(plugins.id("patch")))
    assert KEY.startswith("plugin_autoupgrade_check_task:cached_plugin_manifests:")
    assert loads(stored or "")["latest_version"] == "0.1.10"
    assert await plugins.redis.get(KEY.format(plugins.id("ahead"))) == b"null"
    assert 890 < await plugins.redis.ttl(KEY.format(plugins.id("ahead"))) <= 900
    await plugins.redis.set(KEY.format(plugins.id("patch")), "{", ex=900)
    await plugins.redis.set(KEY.format(plugins.id("minor")), "[" * 100_000, ex=900)
    await plugins.check(plugins.event())
    assert plugins.marketplace.bodies(BATCH)[1:] == [{"plugin_ids": [plugins.id("patch"), plugins.id("minor")]}]


@pytest.mark.requirement(SECTION, f"{TOPIC}: without Redis, the marketplace is asked")
async def test_redis_is_optional(plugins: Plugins, tmp_path: Path, database_url: str) -> None:
    more = {"plugin_daemon_url": plugins.daemon.url, "marketplace_url": plugins.marketplace.url}
    async with open_site(database_url, tmp_path, redis_url="redis://127.0.0.1:1/0", **more) as site:
        plugins.daemon.answer(f"GET /plugin/{site.tenant_id}/management/list", plugins.list_installed)
        plugins.daemon.answer(f"POST /plugin/{site.tenant_id}/management/install/upgrade", plugins.upgrade)
        await site.run(upgrade_tenant_plugins, plugins.event(tenant_id=site.tenant_id))
    assert plugins.upgraded() == {"patch", "minor"}


@pytest.mark.requirement(SECTION, f"{TOPIC}: the tenant's row decides, whatever the event says")
async def test_the_row_decides(plugins: Plugins) -> None:
    """A person has excluded a plugin and has allowed only fixes, while the event waited."""
    await plugins.site.add(
        TenantPluginAutoUpgradeStrategy(
            tenant_id=plugins.site.tenant_id,
            strategy_setting="fix_only",
            upgrade_mode="exclude",
            upgrade_time_of_day=0,
            exclude_plugins=[plugins.id("patch")],
            include_plugins=[],
        )
    )
    assert await plugins.check(plugins.event("latest", "all")) == {"checked": 2, "upgraded": []}


@pytest.mark.requirement(SECTION, f"{TOPIC}: a failure of a service is a retry, and the next attempt does the rest")
@pytest.mark.parametrize("place", ["list", "manifests", "upgrade"])
async def test_a_failing_service_is_a_retry(plugins: Plugins, place: str) -> None:
    """The failure of one plugin does not stop the other one."""
    line = {"list": plugins.line("list"), "manifests": BATCH, "upgrade": plugins.line("install/upgrade")}[place]
    service = plugins.marketplace if place == "manifests" else plugins.daemon
    usual = service.answers[line]
    for name, (answer, error) in FAILURES.items():
        plugins.start_again()
        service.answer(line, _first(answer, usual))
        with pytest.raises(error) as raised:
            await plugins.check(plugins.event())
        if isinstance(raised.value, Retry):
            assert raised.value.after == 7.0
        if isinstance(raised.value, Unavailable):
            assert raised.value.dependency in upgrade_tenant_plugins.needs
        assert plugins.upgraded() == ({"minor"} if place == "upgrade" else set()), name
        await plugins.check(plugins.event())
        assert plugins.upgraded() == {"patch", "minor"}, name


@pytest.mark.requirement(SECTION, f"{TOPIC}: a failure of a service is a retry, and the next attempt does the rest")
async def test_a_list_without_the_needed_fields_is_a_retry(plugins: Plugins) -> None:
    wrong = {"plugin_id": 1, "version": "1.0.0", "plugin_unique_identifier": "a", "source": "marketplace"}
    for item in ({"plugin_id": "a/b"}, wrong, "a/b"):
        plugins.daemon.answer(plugins.line("list"), Answer({"code": 0, "data": {"list": [item], "total": 1}}))
        with pytest.raises(ServiceError, match="lists a plugin without"):
            await plugins.check(plugins.event())


async def test_the_count_of_installations_does_not_matter(plugins: Plugins) -> None:
    """It is a statistic of the marketplace. Versions that cannot be compared stay, and the result names them."""
    plugins.marketplace.answer(COUNT, Answer({}, 500))
    plugins.latest[plugins.id("ahead")] = "next"
    result = await plugins.check(plugins.event())
    assert result == {
        "checked": 3,
        "upgraded": [plugins.id("patch"), plugins.id("minor")],
        "not_comparable": [plugins.id("ahead")],
    }


async def test_all_pages_of_plugins_are_read(plugins: Plugins) -> None:
    """300 plugins: two pages of the daemon, two requests to the marketplace."""
    plugins.installed |= {plugins.id(str(number)): "0.0.1" for number in range(300)}
    plugins.latest[plugins.id("299")] = "0.0.2"
    result = await plugins.check(plugins.event("latest", "partial", include_plugins=[plugins.id("299")]))
    assert result == {"checked": 1, "upgraded": [plugins.id("299")]}
    await plugins.check(plugins.event())
    assert [len(body["plugin_ids"]) for body in plugins.marketplace.bodies(BATCH) if isinstance(body, dict)] == [
        1,
        256,
        46,
    ]


@pytest.mark.requirement(SECTION, f"{TOPIC}: a check asks only for the plugins of its own tenant")
async def test_what_cannot_be_right_is_refused(plugins: Plugins) -> None:
    """No request is sent: a tenant that is no UUID would be another path of the daemon."""
    right = plugins.event()
    for wrong in ({"tenant_id": None}, {"tenant_id": "../a"}, {"strategy_setting": "new"}, {"upgrade_mode": "some"}):
        with pytest.raises(Permanent):
            await plugins.check(right.model_copy(update=wrong))
    assert plugins.daemon.requests == []


@pytest.mark.requirement(SECTION, f"{TOPIC}: a check asks only for the plugins of its own tenant")
async def test_a_check_of_one_tenant_leaves_the_others(plugins: Plugins) -> None:
    """The row of another tenant does not matter, and only the tenant's own paths are asked."""
    other = str(uuid4())
    await plugins.site.add(
        TenantPluginAutoUpgradeStrategy(
            tenant_id=other,
            strategy_setting="disabled",
            upgrade_mode="all",
            upgrade_time_of_day=0,
            exclude_plugins=[],
            include_plugins=[],
        )
    )
    await plugins.check(plugins.event())
    assert plugins.upgraded() == {"patch", "minor"}
    assert {request.line.split("/")[2] for request in plugins.daemon.requests} == {plugins.site.tenant_id}


async def test_a_deployment_without_the_services_says_so(database_url: str, tmp_path: Path) -> None:
    async with open_site(database_url, tmp_path) as site:
        event = PluginUpgradeCheckRequested(
            tenant_id=site.tenant_id,
            strategy_setting="latest",
            upgrade_time_of_day=0,
            upgrade_mode="all",
            exclude_plugins=[],
            include_plugins=[],
        )
        with pytest.raises(Permanent, match="STREAMS_PLUGIN_DAEMON_URL"):
            await site.run(upgrade_tenant_plugins, event)
