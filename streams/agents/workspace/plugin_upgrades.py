"""Handler for the daily check of a tenant's plugins."""

from schemas import PluginUpgradeCheckRequested
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Backoff, Permanent, Work, handles
from streams.delivery.handler import JSON
from streams.dify.errors import MarketplaceAwayError, PluginDaemonAwayError
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.dify.plugins.strategy import make_strategy, stored_strategy
from streams.dify.plugins.upgrade import upgrade_plugins


def tenant_plugins(event: PluginUpgradeCheckRequested) -> str:
    """Return the resource that a check of this tenant's plugins locks."""
    return f"plugins:{event.tenant_id}"


@handles(
    PluginUpgradeCheckRequested,
    kind="long",
    resource=tenant_plugins,
    retry=Backoff(first="1m", factor=5, attempts=5),
    soft_time_limit="10m",
    time_limit="11m",
    needs=(PluginDaemonAwayError.service, MarketplaceAwayError.service),
)
async def upgrade_tenant_plugins(event: PluginUpgradeCheckRequested, work: Work) -> JSON:
    """Upgrade the plugins that the tenant's strategy allows. A failure of any of them is a retry, not a success.

    The tenant's row decides, because a person may have changed it while the event waited. The strategy of the event is
    used if there is no row.
    """
    if event.tenant_id is None:
        message = "the check of plugins names no tenant"
        raise Permanent(message)
    with mapped_errors():
        tenant_id = checked_id("tenant_id", event.tenant_id)
        strategy = make_strategy(
            event.strategy_setting, event.upgrade_mode, event.exclude_plugins, event.include_plugins
        )
        async with work.step() as session:
            strategy = await stored_strategy(session, tenant_id) or strategy
        services = work.use(Platform).plugins
        if services is None:
            message = "plugins cannot be checked: set STREAMS_PLUGIN_DAEMON_URL and STREAMS_MARKETPLACE_URL"
            raise Permanent(message)
        done = await upgrade_plugins(services, tenant_id, strategy)
    return {
        "checked": len(done.checked),
        "upgraded": done.upgraded[:50],
        **({"not_comparable": done.not_comparable[:50]} if done.not_comparable else {}),
    }


HANDLERS = (upgrade_tenant_plugins,)
