"""Handler for deleted datasets: cleans up after them."""

from schemas import AppDeleted, DatasetDeleted
from streams.agents.error_mapping import mapped_errors
from streams.agents.knowledge.cleanup_steps import publish_next_step
from streams.delivery import Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.cleanup.steps import DeletedDataset, clean_deleted_dataset, dataset_exists
from streams.dify.ids import checked_id, optional_id
from streams.dify.pipelines.deletion import delete_pipeline
from streams.dify.platform import Platform


@handles(DatasetDeleted, soft_time_limit="60s", time_limit="90s")
async def clean_dataset(event: DatasetDeleted, work: Work) -> JSON:
    """Delete everything that a deleted dataset has left, in bounded steps. Each step publishes the next one.

    The last step deletes the dataset's pipeline, and publishes `app.deleted` for it: workflows, runs and variables of a
    pipeline name it as their app.
    """
    with mapped_errors():
        dataset_id = checked_id("dataset_id", event.dataset_id)
        tenant_id = optional_id("tenant_id", event.tenant_id)
        if await dataset_exists(work.session, dataset_id):
            message = f"dataset {dataset_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        binding_id = optional_id("collection_binding_id", event.collection_binding_id)
        pipeline_id = optional_id("pipeline_id", event.pipeline_id)
        platform = work.use(Platform)
        deleted = DeletedDataset(dataset_id, tenant_id, event.index_struct, binding_id)
        step = await clean_deleted_dataset(work.session, platform, deleted)
        owner = step.scope.tenant_id
        if step.done and pipeline_id and await delete_pipeline(work.session, pipeline_id, owner):
            await work.publish(AppDeleted(tenant_id=owner, app_id=pipeline_id))
    return await publish_next_step(event, work, step)


HANDLERS = (clean_dataset,)
