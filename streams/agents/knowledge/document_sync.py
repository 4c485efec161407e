"""Handler for documents whose source may have changed: compares the source and requests an indexing."""

from schemas import DocumentIndexRequested, DocumentSyncRequested
from streams.agents.error_mapping import mapped_errors
from streams.agents.knowledge.document_indexing import document_resource, record_failed_document
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.errors import Stopped
from streams.dify.ids import checked_id, optional_id
from streams.dify.platform import Platform
from streams.dify.sources.changes import indexed_source, reset_document


@handles(
    DocumentSyncRequested,
    kind="long",
    resource=document_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="3m",
    time_limit="4m",
    on_dead=record_failed_document,
)
async def sync_document(event: DocumentSyncRequested, work: Work) -> JSON:
    """Index a document again if its page of Notion was edited, or if it is a page of the web.

    The previous segments are found until then. If the page is unavailable, an indexed document is not changed.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            dataset_id = checked_id("dataset_id", event.dataset_id)
            document_id = checked_id("document_id", event.document_id)
            tenant_id = optional_id("tenant_id", event.tenant_id)
            async with work.step() as session:
                known = await indexed_source(session, dataset_id, document_id, tenant_id)
            edited = await platform.sources.edited(known.source)
            if known.indexed and edited is not None and edited == known.edited:
                await platform.keys.indexing_ended(document_id)
                return {"changed": False}
            async with work.step(final=True) as session:
                await reset_document(session, dataset_id, document_id, tenant_id)
                await work.publish(
                    DocumentIndexRequested(tenant_id=event.tenant_id, dataset_id=dataset_id, document_id=document_id)
                )
            return {"changed": True}
    except Stopped as stopped:
        await platform.keys.indexing_ended(event.document_id)
        return {"skipped": str(stopped)}


HANDLERS = (sync_document,)
