"""Tenants are apart in the handlers of apps: an event of one tenant that names another's app changes nothing there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from schemas import (
    AppCreated,
    AppDeleted,
    AppDraftWorkflowSynced,
    AppModelConfigUpdated,
    AppPublishedWorkflowUpdated,
    ConversationDeleted,
    Event,
)
from streams.agents.apps.app_creation import create_installed_app, create_site_record
from streams.agents.apps.app_datasets import join_config_datasets, join_workflow_datasets
from streams.agents.apps.cleanup import clean_app, clean_conversation
from streams.agents.apps.tool_parameters import delete_tool_parameters_cache
from streams.delivery import Permanent
from streams.delivery.handler import Handler
from streams.dify.models import InstalledApp
from streams.dify.models import Site as AppSite
from tests.support.platform.app_leftovers import FullApp, add_full_app
from tests.support.platform.cleanup_steps import stored
from tests.support.platform.handler_runs import Site

MakeEvent = Callable[[str, FullApp], Event]
CASES: list[tuple[Handler[Any], MakeEvent]] = [
    (create_installed_app, lambda tenant, b: AppCreated(tenant_id=tenant, app_id=b.app.id)),
    (
        create_site_record,
        lambda tenant, b: AppCreated(tenant_id=tenant, app_id=b.app.id, account_id=str(uuid4())),
    ),
    (
        join_config_datasets,
        lambda tenant, b: AppModelConfigUpdated(tenant_id=tenant, app_id=b.app.id, app_model_config_id=str(uuid4())),
    ),
    (
        join_workflow_datasets,
        lambda tenant, b: AppPublishedWorkflowUpdated(tenant_id=tenant, app_id=b.app.id, workflow_id=str(uuid4())),
    ),
    (
        delete_tool_parameters_cache,
        lambda tenant, b: AppDraftWorkflowSynced(
            tenant_id=tenant, app_id=b.app.id, workflow_id=str(uuid4()), tool_nodes=[]
        ),
    ),
    (clean_app, lambda tenant, b: AppDeleted(tenant_id=tenant, app_id=b.app.id)),
    (clean_conversation, lambda tenant, b: ConversationDeleted(tenant_id=tenant, conversation_id=b.talk.id)),
]


@pytest.mark.requirement(
    "Faults of others", "Tenants: an event of one tenant changes no row of another, for every handler"
)
@pytest.mark.parametrize(("handler", "make"), CASES, ids=[handler.name for handler, _ in CASES])
async def test_an_event_of_one_tenant_changes_nothing_of_another(
    site: Site, handler: Handler[Any], make: MakeEvent
) -> None:
    """Tenant B's app has no site and no installation yet, so that a handler would have something to do."""
    other = replace(site, tenant_id=str(uuid4()))
    victim = await add_full_app(other)
    for kind in (AppSite, InstalledApp):
        await site.delete(kind, app_id=victim.app.id)
    before = (await victim.left(other), stored(site))
    with pytest.raises(Permanent, match="belongs to another tenant than the event"):
        await site.run(handler, make(site.tenant_id, victim))
    assert (await victim.left(other), stored(site)) == before
    assert await site.published() == []
