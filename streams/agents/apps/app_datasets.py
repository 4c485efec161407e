"""Handlers for apps that changed: join them with the datasets that they use now."""

from schemas import AppModelConfigUpdated, AppPublishedWorkflowUpdated
from streams.agents.apps.app_row import GONE, lock_event_app
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Retry, Work, handles
from streams.delivery.handler import JSON
from streams.dify.apps.dataset_joins import current_datasets, join_datasets
from streams.dify.errors import RowMissingError


@handles(AppModelConfigUpdated)
async def join_config_datasets(event: AppModelConfigUpdated, work: Work) -> JSON:
    """Join an app with the datasets of its current configuration. Retries while the event's one is not committed."""
    return await _join(event, work, config_id=event.app_model_config_id)


@handles(AppPublishedWorkflowUpdated)
async def join_workflow_datasets(event: AppPublishedWorkflowUpdated, work: Work) -> JSON:
    """Join an app with the datasets of the retrieval nodes of its current published workflow."""
    return await _join(event, work, workflow_id=event.workflow_id)


async def _join(event: AppModelConfigUpdated | AppPublishedWorkflowUpdated, work: Work, **named: str) -> JSON:
    with mapped_errors():
        app = await lock_event_app(event, work)
        if app is None:
            return GONE
        try:
            datasets = await current_datasets(work.session, app, **named)
        except RowMissingError as error:
            raise Retry(str(error)) from error
        change = await join_datasets(work.session, app, datasets)
    return {"added": change.added, "removed": change.removed, "skipped": change.skipped}


HANDLERS = (join_config_datasets, join_workflow_datasets)
