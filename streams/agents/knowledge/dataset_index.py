"""Handler for datasets that got another indexing technique or embedding model: builds their index anew."""

from schemas import DatasetIndexChanged
from streams.agents.error_mapping import mapped_errors
from streams.agents.knowledge.document_state import write
from streams.agents.workspace.coordination_keys import publish_dropped
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.errors import RefusedError, Stopped
from streams.dify.ids import checked_id, optional_id
from streams.dify.platform import Platform
from streams.dify.reindexing import dataset as steps
from streams.dify.reindexing.document import finish, record_not_loaded
from streams.observability.error_text import owner_message


def changed_index(event: DatasetIndexChanged) -> str:
    """Return the resource that the work locks: the dataset, or the document of one step."""
    return f"dataset:{event.dataset_id}" if event.document_id is None else f"document:{event.document_id}"


async def record_failed_change(event: DatasetIndexChanged, work: Work, error: BaseException) -> None:
    """Record the status error and the reason in the document, or in all documents if the index could not be dropped."""
    message = owner_message(error)
    try:
        dataset_id, document_id, tenant_id = _ids(event)
    except RefusedError:
        return  # No dataset or document has such an id.
    if document_id is None:
        await steps.record_not_changed(work.session, dataset_id, tenant_id, message)
    else:
        await record_not_loaded(work.session, document_id, tenant_id, message)


@handles(
    DatasetIndexChanged,
    kind="long",
    resource=changed_index,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="30m",
    time_limit="35m",
    needs=("embeddings", "storage"),
    on_dead=record_failed_change,
)
async def rebuild_dataset_index(event: DatasetIndexChanged, work: Work) -> JSON:
    """Drop the vectors of a dataset and load its documents again, one event per document.

    The dataset's row decides what is loaded: vectors of its model, or keywords. So events may be repeated or swapped.
    The documents keep their status. A document that cannot be loaded gets the status error.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            dataset_id, document_id, tenant_id = _ids(event)
            if document_id is None:
                return {"requested": await _request(event, work, platform)}
            async with work.step() as session:
                target = await steps.begin_document(session, platform, dataset_id, document_id, tenant_id)
            await write(target, work, platform)
            async with work.step(final=True) as session:
                return dict(await finish(session, platform, target, changed_technique=True))
    except Stopped as stopped:
        return {"skipped": str(stopped)}


async def _request(event: DatasetIndexChanged, work: Work, platform: Platform) -> int:
    """Drop the collections and publish one event per document. Returns the number of these events.

    A repetition drops again and publishes again. What was loaded in between is loaded again, from cached vectors.
    """
    dataset_id, _, tenant_id = _ids(event)
    async with work.step() as session:
        dropped = await steps.drop_index(session, platform, dataset_id, tenant_id)
        await publish_dropped(work, dropped.tenant_id, dropped.collections)
    requested, last, more = 0, None, True
    while more:
        async with work.step() as session:
            documents = await steps.documents_after(session, dataset_id, last)
            for document_id in documents:
                await work.publish(
                    DatasetIndexChanged(
                        tenant_id=dropped.tenant_id,
                        dataset_id=dataset_id,
                        action=event.action,
                        document_id=document_id,
                    )
                )
        requested += len(documents)
        last = documents[-1] if documents else None
        more = len(documents) == steps.DOCUMENTS_PER_STEP
    return requested


def _ids(event: DatasetIndexChanged) -> tuple[str, str | None, str | None]:
    return (
        checked_id("dataset_id", event.dataset_id),
        optional_id("document_id", event.document_id),
        optional_id("tenant_id", event.tenant_id),
    )


HANDLERS = (rebuild_dataset_index,)
