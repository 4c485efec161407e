"""Deletes the pipeline of a deleted dataset."""

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import Dataset, Pipeline
from streams.dify.tenancy import one_tenant


async def delete_pipeline(session: AsyncSession, pipeline_id: str, tenant_id: str | None) -> bool:
    """Delete the row of a pipeline whose dataset is deleted. Returns whether it was deleted now.

    It stays if another dataset has it, or if nothing says whose the dataset was.

    Args:
        session: The transaction of the clean-up.
        pipeline_id: The pipeline, as a checked id.
        tenant_id: The tenant of the dataset. None: unknown.

    Raises:
        ForeignTenantError: The pipeline belongs to another tenant.
    """
    owner = await session.scalar(select(Pipeline.tenant_id).where(Pipeline.id == pipeline_id).with_for_update())
    if owner is None or tenant_id is None:
        return False
    one_tenant(("the dataset", tenant_id), (f"pipeline {pipeline_id}", owner))
    of_another = exists().where(Dataset.tenant_id == owner, Dataset.pipeline_id == pipeline_id)
    if await session.scalar(select(of_another)):
        return False
    await session.execute(delete(Pipeline).where(Pipeline.id == pipeline_id))
    return True
