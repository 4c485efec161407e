"""Events that waited while the platform's own receivers and tasks did the work change nothing."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from schemas import (
    AppCreated,
    AppDeleted,
    AppDraftWorkflowSynced,
    AppModelConfigUpdated,
    AppPublishedWorkflowUpdated,
    ConversationDeleted,
    Event,
    TenantCreated,
    TenantUpdated,
)
from streams.agents.built_in import HANDLERS
from streams.dify.models import App, AppDatasetJoin, AppModelConfig, InstalledApp, Model, Workflow
from streams.dify.models import Site as AppSite
from tests.support.platform.app_rows import make_row
from tests.support.platform.handler_runs import Site, open_site

WITHOUT_HANDLER: tuple[type[Event], ...] = (TenantCreated, TenantUpdated)
"""Extension points: their events wait until a deployment handles them."""


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


async def snapshot(site: Site) -> dict[str, list[str]]:
    """Return all rows of all tables of the platform."""
    async with site.transaction() as session:
        return {
            table.name: sorted(str(row) for row in await session.execute(select(table)))
            for table in Model.metadata.sorted_tables
        }


async def add_app_as_the_platform_leaves_it(site: Site, mode: str) -> tuple[App, str, str]:
    """Add an app with its site, its installation and the joins that the platform's receivers have made."""
    dataset = await site.add_dataset()
    agent = {"tools": [{"dataset": {"enabled": True, "id": dataset.id}}]}
    node = {"id": "n", "data": {"type": "knowledge-retrieval", "title": "t", "dataset_ids": [dataset.id]}}
    app_id, config_id, workflow_id = (str(uuid4()) for _ in range(3))
    known: dict[str, Any] = {"id": app_id, "tenant_id": site.tenant_id, "name": "a", "mode": mode, "status": "normal"}
    if mode == "chat":
        known["app_model_config_id"] = config_id
    else:
        known["workflow_id"] = workflow_id
    app = make_row(App, **known)
    assert isinstance(app, App)
    await site.add(
        app,
        make_row(AppModelConfig, id=config_id, app_id=app_id, agent_mode=json.dumps(agent)),
        make_row(
            Workflow, id=workflow_id, tenant_id=site.tenant_id, app_id=app_id, graph=json.dumps({"nodes": [node]})
        ),
        make_row(AppSite, app_id=app_id, title="by the platform"),
        make_row(InstalledApp, app_id=app_id, tenant_id=site.tenant_id, app_owner_tenant_id=site.tenant_id),
        make_row(AppDatasetJoin, app_id=app_id, dataset_id=dataset.id),
    )
    return app, config_id, workflow_id


@pytest.mark.requirement(
    "The whole domain",
    "Backlog: events of apps and tenants that waited while the platform did the work find it done and do nothing",
)
async def test_a_backlog_changes_nothing(site: Site) -> None:
    """Every row of every table is the same afterwards, whatever the events' order, and nothing is published."""
    waited = {"tenant_id": site.tenant_id, "occurred_at": datetime.now(tz=UTC) - timedelta(days=2)}
    events = [kind.model_validate(waited) for kind in WITHOUT_HANDLER]
    for mode in ("chat", "workflow"):
        app, config_id, workflow_id = await add_app_as_the_platform_leaves_it(site, mode)
        of_app = {**waited, "app_id": app.id}
        changed = AppModelConfigUpdated if mode == "chat" else AppPublishedWorkflowUpdated
        named = {"app_model_config_id": config_id} if mode == "chat" else {"workflow_id": workflow_id}
        events += [
            AppCreated.model_validate({**of_app, "account_id": str(uuid4()), "interface_language": "en-US"}),
            changed.model_validate({**of_app, **named}),
            AppDraftWorkflowSynced.model_validate({**of_app, "workflow_id": workflow_id, "tool_nodes": []}),
        ]
    # The platform has deleted these with all that belonged to them.
    gone = {**waited, "app_id": str(uuid4())}
    events += [
        AppCreated.model_validate({**gone, "account_id": str(uuid4())}),
        AppModelConfigUpdated.model_validate({**gone, "app_model_config_id": str(uuid4())}),
        AppPublishedWorkflowUpdated.model_validate({**gone, "workflow_id": str(uuid4())}),
        AppDraftWorkflowSynced.model_validate({**gone, "workflow_id": str(uuid4()), "tool_nodes": []}),
        AppDeleted.model_validate(gone),
        ConversationDeleted.model_validate({**waited, "conversation_id": str(uuid4())}),
    ]
    before = await snapshot(site)

    for event in (*events, *reversed(events)):
        handlers = [handler for handler in HANDLERS if handler.event is type(event)]
        assert bool(handlers) is (type(event) not in WITHOUT_HANDLER), type(event).__name__
        for handler in handlers:
            await site.run(handler, event)

    assert await snapshot(site) == before
    assert await site.published() == []
