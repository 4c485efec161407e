"""Handler of the regular search for tenants whose plugins are to be checked."""

from schemas import PluginChecksRequested, PluginUpgradeCheckRequested
from schemas.event import new_event_id
from streams.delivery import Permanent, Work, handles
from streams.delivery.handler import JSON
from streams.dify.platform import Platform
from streams.dify.plugins.due_checks import Page, Period, end_period, next_period, take_due_tenants
from streams.dify.retention.step import STEP_SECONDS, start_budget
from streams.schedules.steps import continue_run

STEP_TENANTS = 200
"""A step ends after the page in which one of the two is reached."""


@handles(PluginChecksRequested, soft_time_limit="60s", time_limit="90s")
async def request_plugin_checks(event: PluginChecksRequested, work: Work) -> JSON:
    """Publish the check of each tenant whose time of the day has come, with the tenant's mark in one transaction.

    A run that is late checks every tenant that it has missed. The checks themselves are spread by the concurrency of
    their own handler, so this one does not wait.
    """
    if work.use(Platform).plugins is None:
        message = "plugins cannot be checked: set STREAMS_PLUGIN_DAEMON_URL and STREAMS_MARKETPLACE_URL"
        raise Permanent(message)
    if event.since is None or event.until is None:
        period = await next_period(work.session)
    else:
        period = Period(event.since, event.until)
    published, cursor, budget = 0, event.cursor, start_budget(STEP_SECONDS)
    while True:
        page = await take_due_tenants(work.session, period, cursor)
        await _publish(work, page)
        published, cursor = published + len(page.due), page.last
        if cursor is None or published >= STEP_TENANTS or budget.is_spent:
            break
    if cursor is None:
        await end_period(work.session, period)
    else:
        following = {"event_id": new_event_id(), "since": period.since, "until": period.until, "cursor": cursor}
        await continue_run(work, event, event.model_copy(update=following))
    return {"done": cursor is None, "requested": published}


async def _publish(work: Work, page: Page) -> None:
    for one in page.due:
        await work.publish(
            PluginUpgradeCheckRequested(
                tenant_id=one.tenant_id,
                strategy_setting=one.strategy_setting,
                upgrade_time_of_day=one.upgrade_time_of_day,
                upgrade_mode=one.upgrade_mode,
                exclude_plugins=one.exclude_plugins,
                include_plugins=one.include_plugins,
            )
        )


HANDLERS = (request_plugin_checks,)
