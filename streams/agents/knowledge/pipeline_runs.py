"""Handler for runs of the platform's pipelines, and for the waiting lists of tenants."""

from schemas import PipelineRunRequested
from schemas.event import event_time, new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Backoff, Permanent, Work, handles
from streams.delivery.handler import JSON
from streams.dify.errors import PipelinesAwayError, RedisAwayError, RefusedError, ServiceError
from streams.dify.ids import checked_id, optional_id
from streams.dify.indexing.failure import record_failure
from streams.dify.pipelines.client import PipelineClient
from streams.dify.pipelines.run_files import documents_of_file, run_file_exists
from streams.dify.platform import Platform
from streams.dify.tenancy import tenant_of_dataset
from streams.dify.uploads.files import delete_files
from streams.observability.error_text import owner_message
from streams.observability.logs import get_logger

log = get_logger(__name__)


def run_resource(event: PipelineRunRequested) -> str:
    """Return the resource that a run locks: its file, or the event of a retry of documents."""
    return f"pipeline-run:{event.file_id or event.event_id}"


async def record_failed_run(event: PipelineRunRequested, work: Work, error: BaseException) -> None:
    """Record the failure in the documents that still wait, and let the next file of the tenant run."""
    try:
        tenant_id = _tenant(event)
        file_id, dataset_id = optional_id("file_id", event.file_id), optional_id("dataset_id", event.dataset_id)
        documents = [(dataset_id or "", checked_id("document_ids", one)) for one in event.document_ids]
    except (RefusedError, Permanent):
        return  # No tenant, file or document has such an id.
    platform = work.use(Platform)
    if file_id is not None:
        documents = await documents_of_file(work.session, platform.storage, file_id, tenant_id)
    for owner, document_id in documents:
        if await record_failure(work.session, owner, document_id, tenant_id, owner_message(error)):
            await platform.keys.indexing_ended(document_id)
    try:
        await _publish_next(event, work, tenant_id)
    except RedisAwayError as away:  # The documents show their error anyway. The flag of the tenant expires.
        log.warning("the tenant's next file waits for its next upload", tenant=tenant_id, error=str(away))


@handles(
    PipelineRunRequested,
    kind="long",
    resource=run_resource,
    retry=Backoff(first="30s", factor=4, attempts=5),
    soft_time_limit="30m",
    time_limit="31m",
    needs=(PipelinesAwayError.service, RedisAwayError.service, "storage"),
    on_dead=record_failed_run,
)
async def run_pipeline(event: PipelineRunRequested, work: Work) -> JSON:
    """Let the platform run a pipeline, then delete the file of the run and publish the tenant's next one.

    The file is deleted only after success. The next file is published once for each event, also after a failure.
    """
    client = work.use(Platform).pipelines
    if client is None:
        message = "pipelines cannot be run: set STREAMS_PIPELINE_URL"
        raise Permanent(message)
    with mapped_errors():
        tenant_id = _tenant(event)
        if event.file_id is None:
            return await _retry_documents(event, work, client, tenant_id)
        return await _run_file(event, work, client, tenant_id, checked_id("file_id", event.file_id))


async def _run_file(
    event: PipelineRunRequested, work: Work, client: PipelineClient, tenant_id: str, file_id: str
) -> JSON:
    platform = work.use(Platform)
    async with work.step() as session:
        found = await run_file_exists(session, file_id, tenant_id)
    result: dict[str, JSON] = {"skipped": "the file is deleted: it has been run"}
    if found:
        if not event.priority:
            await platform.waiting_lists.keep_flag(tenant_id)
        try:
            answer = await client.run(str(event.event_id), {"tenant_id": tenant_id, "file_id": file_id})
        except PipelinesAwayError:
            raise  # Nothing has run.
        except ServiceError:
            async with work.step():
                await _publish_next(event, work, tenant_id)
            raise
        result = {"runs": _count(answer.get("runs"))}
    async with work.step(final=True) as session:
        if found:
            await delete_files(session, platform.storage, [file_id], tenant_id)
        await _publish_next(event, work, tenant_id)
    return result


async def _retry_documents(event: PipelineRunRequested, work: Work, client: PipelineClient, tenant_id: str) -> JSON:
    """Let the platform try documents again that have failed in a pipeline."""
    if event.dataset_id is None:
        message = "the event names neither a file nor a dataset"
        raise Permanent(message)
    dataset_id = checked_id("dataset_id", event.dataset_id)
    document_ids = [checked_id("document_ids", each) for each in dict.fromkeys(event.document_ids)]
    async with work.step() as session:
        await tenant_of_dataset(session, dataset_id, tenant_id)
    request = {"tenant_id": tenant_id, "dataset_id": dataset_id, "document_ids": document_ids}
    answer = await client.run(str(event.event_id), request)
    for document_id in document_ids:
        await work.use(Platform).keys.indexing_ended(document_id)
    return {"runs": _count(answer.get("runs"))}


async def _publish_next(event: PipelineRunRequested, work: Work, tenant_id: str) -> None:
    """Publish the tenant's next file, or delete its flag. A repeat publishes the same event, which the ledger skips."""
    if event.priority or event.file_id is None:
        return
    lists = work.use(Platform).waiting_lists
    taken = await lists.take_next(tenant_id, event.event_id, new_event_id())
    if taken is not None:
        event_id, file_id = taken
        occurred_at = event_time(event_id) or event.occurred_at
        await work.publish(
            PipelineRunRequested(event_id=event_id, occurred_at=occurred_at, tenant_id=tenant_id, file_id=file_id)
        )


def _tenant(event: PipelineRunRequested) -> str:
    if event.tenant_id is None:
        message = "the run of a pipeline names no tenant"
        raise Permanent(message)
    return checked_id("tenant_id", event.tenant_id)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


HANDLERS = (run_pipeline,)
