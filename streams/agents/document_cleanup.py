"""Several documents at once: clean up after them, remove them."""

from collections.abc import Sequence
from typing import TypeVar

from schemas import DocumentDeleted, DocumentsDeleted, DocumentsRemovalRequested
from schemas.event import new_event_id
from streams.agents.error_mapping import refusals_told
from streams.delivery import Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.cleanup.delete import DOCUMENTS_A_STEP, remove_document_rows
from streams.dify.cleanup.steps import standing_documents
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.dify.uploads.files import FILES_A_STEP, delete_files

T = TypeVar("T")


@handles(DocumentsDeleted)
async def clean_documents(event: DocumentsDeleted, work: Work) -> JSON:
    """One `document.deleted` a document, so that one document's trouble is its own; their source files go here.

    In bounded steps, each an event that asks for the next. While the row of one is there nothing goes: it retries.
    """
    with refusals_told():
        dataset_id = checked_id("dataset_id", event.dataset_id)
        tenant_id = checked_id("tenant_id", event.tenant_id) if event.tenant_id else None
        document_ids = [checked_id("document_ids", each) for each in event.document_ids]
        file_ids = [checked_id("file_ids", each) for each in event.file_ids]
    if standing := await standing_documents(work.session, document_ids):
        message = f"{len(standing)} of the documents still have their rows, document {standing[0]} among them"
        raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
    some, document_ids = _parted(document_ids, DOCUMENTS_A_STEP)
    for document_id in some:
        await work.publish(
            DocumentDeleted(
                occurred_at=event.occurred_at,
                tenant_id=event.tenant_id,
                dataset_id=dataset_id,
                document_id=document_id,
                doc_form=event.doc_form,
            )
        )
    named, file_ids = _parted(file_ids, FILES_A_STEP)
    removed = await delete_files(work.session, work.use(Platform).storage, named, tenant_id)
    if document_ids or file_ids:
        rest = {"event_id": new_event_id(), "document_ids": document_ids, "file_ids": file_ids}
        await work.publish(event.model_copy(update=rest))
    return {"done": not (document_ids or file_ids), "requested": len(some), "removed": {"files": removed}}


@handles(DocumentsRemovalRequested)
async def remove_documents(event: DocumentsRemovalRequested, work: Work) -> JSON:
    """The rows of those documents that are there go, each with its `document.deleted` in the same transaction.

    Documents that are not there, or in another dataset, are passed over. In bounded steps, as `clean_documents`.
    """
    with refusals_told():
        dataset_id = checked_id("dataset_id", event.dataset_id)
        tenant_id = checked_id("tenant_id", event.tenant_id) if event.tenant_id else None
        document_ids = [checked_id("document_ids", each) for each in event.document_ids]
    some, rest = _parted(document_ids, DOCUMENTS_A_STEP)
    removed = await remove_document_rows(work.session, dataset_id, some, tenant_id)
    for document in removed:
        await work.publish(
            DocumentDeleted(
                tenant_id=document.tenant_id,
                dataset_id=dataset_id,
                document_id=document.document_id,
                doc_form=document.doc_form,
                file_id=document.file_id,
            )
        )
    if rest:
        await work.publish(event.model_copy(update={"event_id": new_event_id(), "document_ids": rest}))
    return {"done": not rest, "removed": len(removed), "missing": len(some) - len(removed)}


def _parted(items: Sequence[T], size: int) -> tuple[list[T], list[T]]:
    """The first of the items, each once, and the others."""
    distinct = list(dict.fromkeys(items))
    return distinct[:size], distinct[size:]


HANDLERS = (clean_documents, remove_documents)
