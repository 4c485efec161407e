"""Handler for saved drafts: the platform forgets the cached parameters of their tools."""

from datetime import UTC, datetime

from sqlalchemy import select

from schemas import AppDraftWorkflowSynced
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Work, handles
from streams.delivery.handler import JSON
from streams.dify.apps.tool_cache import LIFETIME, CachedTool
from streams.dify.errors import RedisAwayError
from streams.dify.ids import checked_id
from streams.dify.models import App
from streams.dify.platform import Platform
from streams.dify.tenancy import of_event, one_tenant


@handles(AppDraftWorkflowSynced, needs=RedisAwayError.service)
async def delete_tool_parameters_cache(event: AppDraftWorkflowSynced, work: Work) -> JSON:
    """Delete the cached parameters of each tool of a draft, by the names in the event.

    An event that is older than the platform's keys live has nothing to delete.
    """
    if datetime.now(tz=UTC) - event.occurred_at > LIFETIME:
        return {"skipped": "the keys have expired"}
    with mapped_errors():
        app_id = checked_id("app_id", event.app_id)
        owner = await work.session.scalar(select(App.tenant_id).where(App.id == app_id))
        tenant_id = one_tenant(of_event(event.tenant_id), (f"app {app_id}", owner))
        if tenant_id is None:
            return {"skipped": "the app was deleted"}
        tools = (
            CachedTool(tenant_id, app_id, node.node_id, node.provider_type, node.provider_name, node.tool_name)
            for node in event.tool_nodes
        )
        return {"deleted": await work.use(Platform).tool_cache.delete(tools)}


HANDLERS = (delete_tool_parameters_cache,)
