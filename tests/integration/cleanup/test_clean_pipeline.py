"""The pipeline of a deleted dataset goes with it, and so do its workflows and runs."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.delivery import Permanent
from streams.dify.models import Dataset, Pipeline, Workflow, WorkflowRun
from streams.dify.models.columns import utc_now
from tests.support.platform.cleanup_steps import settle
from tests.support.platform.handler_runs import Site, open_site

SECTION = "The whole domain"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


async def _add_pipeline(site: Site) -> str:
    """Add a pipeline with two versions of its workflow and a run of it. Returns its id."""
    pipeline_id, person = str(uuid4()), str(uuid4())
    await site.add(Pipeline(id=pipeline_id, tenant_id=site.tenant_id, name="Crawl"))
    for version in ("draft", "2025-06-15"):
        await site.add(
            Workflow(
                tenant_id=site.tenant_id,
                app_id=pipeline_id,
                type="rag-pipeline",
                version=version,
                graph="{}",
                features="{}",
                created_by=person,
                updated_at=utc_now(),
            )
        )
    await site.add(
        WorkflowRun(
            tenant_id=site.tenant_id,
            app_id=pipeline_id,
            workflow_id=str(uuid4()),
            type="rag-pipeline",
            triggered_from="rag-pipeline-run",
            version="draft",
            status="succeeded",
            created_by_role="account",
            created_by=person,
        )
    )
    return pipeline_id


async def _has(site: Site, pipeline_id: str) -> tuple[int, int, int]:
    """Return the numbers of rows of a pipeline: itself, its workflows, its runs."""
    return (
        await site.count(Pipeline, id=pipeline_id),
        await site.count(Workflow, app_id=pipeline_id),
        await site.count(WorkflowRun, app_id=pipeline_id),
    )


@pytest.mark.requirement(SECTION, "dataset.deleted: the pipeline of the dataset goes with its workflows and runs")
async def test_the_pipeline_goes_with_its_workflows(site: Site) -> None:
    """A neighbour's pipeline stays. A repetition finds nothing."""
    neighbour = await site.add_dataset(runtime_mode="rag_pipeline", pipeline_id=await _add_pipeline(site))
    dataset = await site.add_dataset(runtime_mode="rag_pipeline", pipeline_id=await _add_pipeline(site))
    event = site.dataset_deleted(dataset)
    await site.delete(Dataset, id=dataset.id)

    await settle(site, event)

    assert await _has(site, str(dataset.pipeline_id)) == (0, 0, 0)
    assert await _has(site, str(neighbour.pipeline_id)) == (1, 2, 1)
    assert len(await settle(site, event)) == 1


@pytest.mark.requirement(SECTION, "dataset.deleted: a pipeline that another dataset has stays")
async def test_a_pipeline_in_use_stays(site: Site) -> None:
    """A forged event cannot delete the pipeline of a dataset that is there."""
    pipeline_id = await _add_pipeline(site)
    await site.add_dataset(runtime_mode="rag_pipeline", pipeline_id=pipeline_id)
    gone = await site.add_dataset(pipeline_id=pipeline_id)
    event = site.dataset_deleted(gone)
    await site.delete(Dataset, id=gone.id)

    await settle(site, event)

    assert await _has(site, pipeline_id) == (1, 2, 1)


@pytest.mark.requirement(SECTION, "dataset.deleted: a pipeline of another tenant is a dead letter")
async def test_a_pipeline_of_another_tenant_is_refused(site: Site, database_url: str, tmp_path: Path) -> None:
    async with open_site(database_url, tmp_path / "files") as other:
        pipeline_id = await _add_pipeline(other)
        dataset = await site.add_dataset(pipeline_id=pipeline_id)
        event = site.dataset_deleted(dataset)
        await site.delete(Dataset, id=dataset.id)

        with pytest.raises(Permanent, match="belongs to another tenant"):
            await site.run(clean_dataset, event)

        assert await _has(other, pipeline_id) == (1, 2, 1)
