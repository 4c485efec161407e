"""An app is joined with the datasets that its current configuration or workflow names."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, update

from schemas import AppModelConfigUpdated, AppPublishedWorkflowUpdated
from streams.agents.apps.app_datasets import join_config_datasets, join_workflow_datasets
from streams.agents.apps.app_row import COMMITTED_WITHIN
from streams.delivery import Permanent, Retry
from streams.dify.models import App, AppDatasetJoin, AppModelConfig, Dataset, Workflow
from tests.support.platform.app_rows import add_app, make_row, wait_for_locks
from tests.support.platform.handler_runs import Site

SECTION = "The whole domain"
CONFIG = "app.model-config-updated: the joins are those of the current configuration"
WORKFLOW = "app.published-workflow-updated: the joins are those of the current published workflow"


async def _datasets(site: Site, count: int) -> list[str]:
    return [(await site.add_dataset()).id for _ in range(count)]


async def _joined(site: Site, app: App) -> list[str]:
    async with site.transaction() as session:
        return list(
            await session.scalars(
                select(AppDatasetJoin.dataset_id)
                .where(AppDatasetJoin.app_id == app.id)
                .order_by(AppDatasetJoin.dataset_id)
            )
        )


async def _configure(site: Site, app: App, *, tools: list[str] = [], searched: list[str] = []) -> AppModelConfigUpdated:  # noqa: B006 - read only
    """Give the app another configuration, and return its event."""
    config_id = str(uuid4())
    agent = {"enabled": True, "tools": [{"dataset": {"enabled": True, "id": one}} for one in tools]}
    search = {"datasets": {"datasets": [{"dataset": {"enabled": True, "id": one}} for one in searched]}}
    await site.add(
        make_row(
            AppModelConfig,
            id=config_id,
            app_id=app.id,
            agent_mode=json.dumps(agent),
            dataset_configs=json.dumps(search),
        )
    )
    async with site.transaction() as session:
        await session.execute(update(App).where(App.id == app.id).values(app_model_config_id=config_id))
    return AppModelConfigUpdated(app_id=app.id, tenant_id=app.tenant_id, app_model_config_id=config_id)


def _graph(*nodes: list[str]) -> str:
    searching = [{"id": "n", "data": {"type": "knowledge-retrieval", "dataset_ids": ids}} for ids in nodes]
    return json.dumps({"nodes": [{"id": "start", "data": {"type": "start"}}, *searching]})


async def _publish(site: Site, app: App, graph: str) -> AppPublishedWorkflowUpdated:
    """Publish a workflow of the app, and return its event."""
    workflow_id = str(uuid4())
    await site.add(make_row(Workflow, id=workflow_id, tenant_id=app.tenant_id, app_id=app.id, graph=graph))
    async with site.transaction() as session:
        await session.execute(update(App).where(App.id == app.id).values(workflow_id=workflow_id))
    return AppPublishedWorkflowUpdated(app_id=app.id, tenant_id=app.tenant_id, workflow_id=workflow_id)


@pytest.mark.requirement(SECTION, CONFIG)
async def test_the_joins_follow_the_configuration(site: Site) -> None:
    """An agent's tools and the searched datasets are joined. What the next one does not name is removed."""
    app = await add_app(site)
    one, two, three = sorted(await _datasets(site, 3))
    first = await _configure(site, app, tools=[one], searched=[one, two])

    assert await site.run(join_config_datasets, first) == {"added": 2, "removed": 0, "skipped": 0}
    assert await site.run(join_config_datasets, first) == {"added": 0, "removed": 0, "skipped": 0}
    assert await _joined(site, app) == [one, two]

    second = await _configure(site, app, searched=[two, three])
    assert await site.run(join_config_datasets, second) == {"added": 1, "removed": 1, "skipped": 0}
    assert await _joined(site, app) == [two, three]


@pytest.mark.requirement(SECTION, CONFIG)
async def test_swapped_events_do_not_bring_an_old_configuration_back(site: Site) -> None:
    app = await add_app(site)
    old, new = await _datasets(site, 2)
    first, second = await _configure(site, app, searched=[old]), await _configure(site, app, searched=[new])

    await site.run(join_config_datasets, second)
    assert await site.run(join_config_datasets, first) == {"added": 0, "removed": 0, "skipped": 0}

    assert await _joined(site, app) == [new]


@pytest.mark.requirement(SECTION, "app.model-config-updated: an event that is earlier than its commit waits for it")
async def test_an_event_before_its_commit_waits(site: Site) -> None:
    """The platform sends the signal for an imported app before the commit of its configuration."""
    app = await add_app(site)
    event = AppModelConfigUpdated(app_id=app.id, tenant_id=app.tenant_id, app_model_config_id=str(uuid4()))
    with pytest.raises(Retry, match="has no row"):
        await site.run(join_config_datasets, event)
    (dataset_id,) = await _datasets(site, 1)
    later = await _configure(site, app, searched=[dataset_id])
    await site.run(join_config_datasets, later)
    assert await _joined(site, app) == [dataset_id]


@pytest.mark.requirement(SECTION, "app.model-config-updated: concurrent events leave one join per dataset")
async def test_events_at_the_same_time_leave_one_join_per_dataset(site: Site) -> None:
    """The platform read, compared and wrote without a lock. Its duplicates are removed as well."""
    app = await add_app(site)
    wanted = sorted(await _datasets(site, 3))
    event = await _configure(site, app, searched=wanted)
    await site.add(*(AppDatasetJoin(app_id=app.id, dataset_id=wanted[0]) for _ in range(2)))

    await asyncio.gather(*(site.run(join_config_datasets, event) for _ in range(6)))

    assert await _joined(site, app) == wanted


@pytest.mark.requirement(SECTION, WORKFLOW)
async def test_the_joins_follow_the_published_workflow(site: Site) -> None:
    """The union of all retrieval nodes. A repetition and an older event change nothing."""
    app = await add_app(site, mode="advanced-chat")
    one, two, three = sorted(await _datasets(site, 3))
    first = await _publish(site, app, _graph([one, two], [two]))
    assert await site.run(join_workflow_datasets, first) == {"added": 2, "removed": 0, "skipped": 0}
    second = await _publish(site, app, _graph([three]))

    assert await site.run(join_workflow_datasets, second) == {"added": 1, "removed": 2, "skipped": 0}
    for event in (first, second):
        assert await site.run(join_workflow_datasets, event) == {"added": 0, "removed": 0, "skipped": 0}

    assert await _joined(site, app) == [three]


@pytest.mark.requirement(SECTION, WORKFLOW)
async def test_a_deleted_version_of_the_workflow_is_not_needed(site: Site) -> None:
    """An event waited while its version was replaced and deleted."""
    app = await add_app(site, mode="workflow")
    old, new = await _datasets(site, 2)
    event = await _publish(site, app, _graph([old]))
    await _publish(site, app, _graph([new]))
    await site.delete(Workflow, id=event.workflow_id)

    await site.run(join_workflow_datasets, event)

    assert await _joined(site, app) == [new]


@pytest.mark.requirement(SECTION, "app.published-workflow-updated: nodes in another form are skipped")
@pytest.mark.parametrize(
    "graph",
    [
        "no JSON",
        "[]",
        '{"nodes": 1}',
        '{"nodes": [1, null, {"data": 1}, {"data": {"type": "knowledge-retrieval"}}]}',
        '{"nodes": [{"data": {"type": "knowledge-retrieval", "dataset_ids": ["none", 7, null, {}]}}]}',
    ],
)
async def test_a_graph_in_another_form_names_no_dataset(site: Site, graph: str) -> None:
    app = await add_app(site, mode="workflow")
    event = await _publish(site, app, graph)
    assert await site.run(join_workflow_datasets, event) == {"added": 0, "removed": 0, "skipped": 0}


@pytest.mark.requirement(SECTION, WORKFLOW)
async def test_a_workflow_without_its_row_is_retried(site: Site) -> None:
    app = await add_app(site, mode="workflow", workflow_id=str(uuid4()))
    event = AppPublishedWorkflowUpdated(app_id=app.id, tenant_id=app.tenant_id, workflow_id=str(uuid4()))
    with pytest.raises(Retry, match="has no row"):
        await site.run(join_workflow_datasets, event)


@pytest.mark.requirement(SECTION, "app.model-config-updated: a dataset of another tenant is not joined")
async def test_a_dataset_of_another_tenant_is_not_joined(site: Site) -> None:
    """Nor is one that does not exist (any more)."""
    app = await add_app(site)
    foreign = await site.add_dataset(tenant_id=str(uuid4()))
    event = await _configure(site, app, searched=[foreign.id, str(uuid4())])

    assert await site.run(join_config_datasets, event) == {"added": 0, "removed": 0, "skipped": 2}

    assert await site.count(AppDatasetJoin) == 0


@pytest.mark.requirement(SECTION, "app.model-config-updated: a dataset that is deleted meanwhile is not joined")
async def test_the_deletion_of_a_dataset_wins(site: Site) -> None:
    """The deletion is not committed when the handler starts. The handler waits for it."""
    app = await add_app(site)
    (dataset_id,) = await _datasets(site, 1)
    event = await _configure(site, app, searched=[dataset_id])
    async with site.transaction() as session:
        await session.execute(delete(Dataset).where(Dataset.id == dataset_id))
        run = asyncio.create_task(site.run(join_config_datasets, event))
        await wait_for_locks(site, 1)
    assert await run == {"added": 0, "removed": 0, "skipped": 1}


async def test_a_deleted_app_gets_no_join(site: Site) -> None:
    app = await add_app(site)
    event = await _configure(site, app, searched=await _datasets(site, 1))
    await site.delete(App, id=app.id)
    old = event.model_copy(update={"occurred_at": datetime.now(tz=UTC) - COMMITTED_WITHIN})
    assert await site.run(join_config_datasets, old) == {"skipped": "the app was deleted"}


@pytest.mark.requirement(SECTION, "app.published-workflow-updated: an event of another tenant is a dead letter")
async def test_a_workflow_of_another_tenant_is_refused(site: Site) -> None:
    app = await add_app(site, mode="workflow")
    theirs = make_row(Workflow, app_id=str(uuid4()), graph=_graph())
    assert isinstance(theirs, Workflow)
    await site.add(theirs)
    event = AppPublishedWorkflowUpdated(app_id=app.id, tenant_id=app.tenant_id, workflow_id=theirs.id)
    with pytest.raises(Permanent, match="belongs to another tenant"):
        await site.run(join_workflow_datasets, event)
