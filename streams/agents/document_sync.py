"""Documents whose source may have changed: look again, and ask for an indexing where it has."""

from schemas import DocumentIndexRequested, DocumentSyncRequested
from streams.agents.document_indexing import name_resource, record_death
from streams.agents.error_mapping import refusals_told
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.errors import Stopped
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.dify.sources.changes import ask_anew, look


@handles(
    DocumentSyncRequested,
    kind="long",
    resource=name_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="3m",
    time_limit="4m",
    on_dead=record_death,
)
async def sync_document(event: DocumentSyncRequested, work: Work) -> JSON:
    """A page of Notion that was edited, or a page of the web, is indexed anew; what it was is found until then.

    A page that cannot be reached leaves a document that is indexed as it is.
    """
    platform = work.use(Platform)
    try:
        with refusals_told():
            dataset_id = checked_id("dataset_id", event.dataset_id)
            document_id = checked_id("document_id", event.document_id)
            async with work.step() as session:
                seen = await look(session, dataset_id, document_id)
            edited = await platform.reading.edited(seen.source)
            if seen.indexed and edited is not None and edited == seen.edited:
                await platform.flags.indexing_ended(document_id)
                return {"changed": False}
            async with work.step(final=True) as session:
                await ask_anew(session, dataset_id, document_id)
                await work.publish(
                    DocumentIndexRequested(tenant_id=event.tenant_id, dataset_id=dataset_id, document_id=document_id)
                )
            return {"changed": True}
    except Stopped as stopped:
        return {"skipped": str(stopped)}


HANDLERS = (sync_document,)
