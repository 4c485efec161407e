"""The platform's calls to save workflow runs and nodes lead to the rows that its own tasks write."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from schemas import WorkflowNodeExecutionSaved, WorkflowRunSaved
from streams.agents.apps.workflow_runs import save_node_execution, save_workflow_run
from streams.database import sync_engine
from streams.dify.models import WorkflowNodeExecution, WorkflowRun
from streams.publishing import celery_tasks
from streams.settings import Settings
from tests.support.celery_calls.live_values import NODE_DATA, RUN_DATA, STARTED, Role
from tests.support.platform.handler_runs import Site, open_site

CREATOR, WORKFLOW = str(uuid4()), str(uuid4())


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def current(database_url: str) -> Iterator[scoped_session[Session]]:
    """Yield the platform's session."""
    engine = sync_engine(Settings.model_validate({"database_url": database_url}))
    yield scoped_session(sessionmaker(engine))
    engine.dispose()


@pytest.mark.requirement("The whole domain", "live Python values become fields without the platform's classes")
async def test_a_call_leads_to_the_row_of_the_platform_s_own_task(site: Site, current: scoped_session[Session]) -> None:
    """Times are UTC without an offset, JSON is text, an empty value is `{}`, and a Decimal is a number."""
    tasks = celery_tasks(current, codec=site.codec)
    creator = {
        "tenant_id": site.tenant_id,
        "app_id": str(uuid4()),
        "creator_user_id": CREATOR,
        "creator_user_role": Role.ACCOUNT,
    }
    run, node = {**RUN_DATA, "workflow_id": WORKFLOW}, {**NODE_DATA, "workflow_id": WORKFLOW}
    tasks["tasks.workflow_execution_tasks.save_workflow_execution_task"].delay(
        execution_data=run, triggered_from="app-run", **creator
    )
    tasks.save_workflow_node_execution_task.delay(execution_data=node, triggered_from="workflow-run", **creator)
    alone = {**node, "id": str(uuid4()), "workflow_execution_id": None, "metadata": None}
    tasks.save_workflow_node_execution_task.delay(execution_data=alone, triggered_from="single-step", **creator)
    current.remove()

    events = await site.published()
    await site.run_batch(save_workflow_run, [event for event in events if isinstance(event, WorkflowRunSaved)])
    nodes = [event for event in events if isinstance(event, WorkflowNodeExecutionSaved)]
    await site.run_batch(save_node_execution, nodes)

    async with site.transaction() as session:
        (saved,) = (await session.scalars(select(WorkflowRun))).all()
        executions = {row.id: row for row in await session.scalars(select(WorkflowNodeExecution))}
    assert (saved.id, saved.status, saved.created_by) == (RUN_DATA["id_"], "succeeded", CREATOR)
    assert (saved.created_at, saved.finished_at, saved.error, saved.outputs) == (STARTED, None, None, "{}")
    assert json.loads(saved.inputs or "") == {"file": {"id": "f", "dify_model_identity": "file"}, "n": 1.5}
    first, second = executions[str(node["id"])], executions[str(alone["id"])]
    assert (first.workflow_run_id, second.workflow_run_id) == (saved.id, None)
    assert isinstance(first.finished_at, datetime)
    assert (first.created_at, first.finished_at, first.elapsed_time) == (STARTED, STARTED, 1.5)
    assert json.loads(first.execution_metadata or "") == {"total_tokens": 3, "total_price": 0.001}
    assert second.execution_metadata == "{}"
    assert json.loads(first.outputs or "") == {"usage": {"price": 0.25}, "ids": ["a", ["b"]]}
