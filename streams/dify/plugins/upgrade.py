"""Upgrades the plugins of a tenant that its strategy allows."""

from dataclasses import dataclass

from streams.dify.errors import BusyError, ServiceError
from streams.dify.http import JSONObject, Timeouts
from streams.dify.plugins.daemon import InstalledPlugin, PluginDaemon
from streams.dify.plugins.manifests import ManifestCache
from streams.dify.plugins.marketplace import Marketplace
from streams.dify.plugins.strategy import Strategy
from streams.dify.plugins.versions import may_upgrade, parse_version
from streams.dify.redis import RedisClients
from streams.observability.logs import get_logger
from streams.settings import Settings

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PluginServices:
    """The services that an upgrade needs."""

    daemon: PluginDaemon
    manifests: ManifestCache


@dataclass(frozen=True, slots=True)
class Upgrades:
    """What a check has found and done. Each is a list of plugin ids."""

    checked: list[str]
    upgraded: list[str]
    """The daemon has accepted the request."""
    not_comparable: list[str]
    """The installed version or the marketplace's is not a version, or the marketplace names no package."""


async def upgrade_plugins(services: PluginServices, tenant_id: str, strategy: Strategy) -> Upgrades:
    """Upgrade every plugin that the strategy allows. One plugin that fails does not stop the others.

    Raises:
        BusyError: A service asks for a pause.
        ServiceError: A service failed, or an upgrade did. A repeat upgrades only what is not upgraded yet.
    """
    done = Upgrades([], [], [])
    if strategy.selects_none:
        return done
    selected = strategy.selected(await services.daemon.installed(tenant_id))
    if not selected:
        return done
    manifests = await services.manifests.manifests([plugin.plugin_id for plugin in selected])
    failures: list[Exception] = []
    for plugin in selected:
        manifest = manifests.get(plugin.plugin_id)
        if manifest is None:
            continue
        done.checked.append(plugin.plugin_id)
        wanted = _wanted(plugin, manifest, strategy, done)
        if wanted is None:
            continue
        try:
            await services.daemon.upgrade(tenant_id, plugin.identifier, wanted)
        except (BusyError, ServiceError) as error:
            log.warning("a plugin is not upgraded", tenant=tenant_id, plugin=plugin.plugin_id, error=str(error))
            failures.append(error)
            continue
        log.info("a plugin is upgraded", tenant=tenant_id, installed=plugin.identifier, wanted=wanted)
        done.upgraded.append(plugin.plugin_id)
        await _count_installation(services.manifests.marketplace, wanted)
    if failures:
        raise failures[0]
    return done


def _wanted(plugin: InstalledPlugin, manifest: JSONObject, strategy: Strategy, done: Upgrades) -> str | None:
    """Return the identifier of the version to install; None: the installed one stays."""
    current, latest = parse_version(plugin.version), parse_version(str(manifest.get("latest_version", "")))
    identifier = manifest.get("latest_package_identifier")
    if current is None or latest is None or not isinstance(identifier, str) or not identifier:
        done.not_comparable.append(plugin.plugin_id)
        return None
    return identifier if may_upgrade(strategy.setting, current, latest) else None


async def _count_installation(marketplace: Marketplace, identifier: str) -> None:
    """Count the installation. It is only a statistic, so its failure is logged and is no reason to upgrade again."""
    try:
        await marketplace.count_installation(identifier)
    except (BusyError, ServiceError) as error:
        log.warning("the marketplace has not counted an installation", plugin=identifier, error=str(error))


def build_plugin_services(settings: Settings, redis: RedisClients) -> PluginServices | None:
    """Create the services of the settings; None: STREAMS_PLUGIN_DAEMON_URL or STREAMS_MARKETPLACE_URL is not set."""
    if settings.plugin_daemon_url is None or settings.marketplace_url is None:
        return None
    timeouts = Timeouts(settings.service_connect_timeout, settings.service_request_timeout)
    key = settings.plugin_daemon_key.get_secret_value() if settings.plugin_daemon_key else None
    return PluginServices(
        PluginDaemon(settings.plugin_daemon_url, key, timeouts),
        ManifestCache(Marketplace(settings.marketplace_url, timeouts), redis),
    )
