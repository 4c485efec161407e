"""Datasets: clean up after them."""

from schemas import DatasetDeleted
from streams.agents.cleanup_steps import go_on
from streams.agents.error_mapping import refusals_told
from streams.delivery import Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.cleanup.steps import DeletedDataset, clean_deleted_dataset, dataset_stands
from streams.dify.ids import checked_id
from streams.dify.platform import Platform


@handles(DatasetDeleted, soft_time_limit="60s", time_limit="90s")
async def clean_dataset(event: DatasetDeleted, work: Work) -> JSON:
    """Everything that a deleted dataset has left goes, in bounded steps, each an event that asks for the next.

    While its row is there nothing goes: it retries.
    """
    with refusals_told():
        dataset_id = checked_id("dataset_id", event.dataset_id)
        tenant_id = checked_id("tenant_id", event.tenant_id) if event.tenant_id else None
        if await dataset_stands(work.session, dataset_id):
            message = f"dataset {dataset_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        binding = event.collection_binding_id
        binding_id = checked_id("collection_binding_id", binding) if binding else None
        platform = work.use(Platform)
        deleted = DeletedDataset(dataset_id, tenant_id, event.index_struct, binding_id)
        step = await clean_deleted_dataset(work.session, platform, deleted)
    return await go_on(event, work, step)


HANDLERS = (clean_dataset,)
