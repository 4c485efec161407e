"""Handlers for several documents at once: clean up after them, delete them."""

from collections.abc import Sequence
from typing import TypeVar

from schemas import DocumentDeleted, DocumentsDeleted, DocumentsRemovalRequested
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.cleanup.delete import DOCUMENTS_PER_STEP, remove_document_rows
from streams.dify.cleanup.steps import existing_documents
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.dify.tenancy import tenant_of_documents
from streams.dify.uploads.files import FILES_PER_STEP, count_foreign, delete_files
from streams.observability.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")


@handles(DocumentsDeleted)
async def clean_documents(event: DocumentsDeleted, work: Work) -> JSON:
    """Publish one `document.deleted` per document, so that documents fail independently, and delete the source files.

    It works in bounded steps; each step publishes the event of the next one. It retries while one of the rows still
    exists.
    """
    with mapped_errors():
        dataset_id = checked_id("dataset_id", event.dataset_id)
        document_ids = [checked_id("document_ids", each) for each in event.document_ids]
        file_ids = [checked_id("file_ids", each) for each in event.file_ids]
        tenant_id = await tenant_of_documents(work.session, dataset_id, document_ids, event.tenant_id)
    if existing := await existing_documents(work.session, document_ids):
        message = f"{len(existing)} of the documents still have their rows, document {existing[0]} among them"
        raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
    some, document_ids = _split_off(document_ids, DOCUMENTS_PER_STEP)
    for document_id in some:
        await work.publish(
            DocumentDeleted(
                occurred_at=event.occurred_at,
                tenant_id=tenant_id,
                dataset_id=dataset_id,
                document_id=document_id,
                doc_form=event.doc_form,
            )
        )
    named, file_ids = _split_off(file_ids, FILES_PER_STEP)
    removed = await delete_files(work.session, work.use(Platform).storage, named, tenant_id)
    kept = await count_foreign(work.session, named, tenant_id)
    if kept:
        log.warning("files not deleted: no sign that they are the tenant's", dataset=dataset_id, files=kept)
    if document_ids or file_ids:
        rest = {
            "event_id": new_event_id(),
            "tenant_id": tenant_id,
            "document_ids": document_ids,
            "file_ids": file_ids,
        }
        await work.publish(event.model_copy(update=rest))
    result: dict[str, JSON] = {"done": not (document_ids or file_ids), "requested": len(some)}
    return {**result, "removed": {"files": removed}, **({"kept": {"files": kept}} if kept else {})}


@handles(DocumentsRemovalRequested)
async def remove_documents(event: DocumentsRemovalRequested, work: Work) -> JSON:
    """Delete the rows of the documents, and publish `document.deleted` for each in the same transaction.

    Documents that do not exist or belong to another dataset are skipped. It works in bounded steps, as
    `clean_documents`.
    """
    with mapped_errors():
        dataset_id = checked_id("dataset_id", event.dataset_id)
        document_ids = [checked_id("document_ids", each) for each in event.document_ids]
        some, rest = _split_off(document_ids, DOCUMENTS_PER_STEP)
        removed = await remove_document_rows(work.session, dataset_id, some, event.tenant_id)
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


def _split_off(items: Sequence[T], size: int) -> tuple[list[T], list[T]]:
    """Return the first distinct items, and the others."""
    distinct = list(dict.fromkeys(items))
    return distinct[:size], distinct[size:]


HANDLERS = (clean_documents, remove_documents)
