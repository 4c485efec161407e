"""The platform's Celery tasks that events replace: their signatures, and the transaction of each event.

To replace another task, add a function with its name and signature that returns the event, and a line in `TASKS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from schemas import (
    DatasetDeleted,
    DocumentDeleted,
    DocumentIndexCreated,
    DocumentIndexRequested,
    DocumentsDeleted,
    DocumentsRemovalRequested,
    DocumentSyncRequested,
    Event,
)
from streams.publishing.bridges.platform_signals import DEFAULT_FORM


def document_indexing_task(dataset_id: str, document_ids: list[str]) -> Event:
    """Return the event for the first indexing of a batch."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def duplicate_document_indexing_task(dataset_id: str, document_ids: list[str]) -> Event:
    """Return the event for documents that were uploaded again. Their rows are waiting."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def retry_document_indexing_task(dataset_id: str, document_ids: list[str], user_id: str | None = None) -> Event:  # noqa: ARG001 - the task's signature
    """Return the event for failed documents whose rows are waiting. The work does not depend on the user."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def document_indexing_update_task(dataset_id: str, document_id: str) -> Event:
    """Return the event for a document whose content or settings changed."""
    return DocumentIndexRequested(dataset_id=dataset_id, document_id=document_id)


def recover_document_indexing_task(dataset_id: str, document_id: str) -> Event:
    """Return the event for a document that was paused."""
    return DocumentIndexRequested(dataset_id=dataset_id, document_id=document_id)


def document_indexing_sync_task(dataset_id: str, document_id: str) -> Event:
    """Return the event for a page of Notion."""
    return DocumentSyncRequested(dataset_id=dataset_id, document_id=document_id)


def sync_website_document_indexing_task(dataset_id: str, document_id: str) -> Event:
    """Return the event for a web page."""
    return DocumentSyncRequested(dataset_id=dataset_id, document_id=document_id)


def clean_dataset_task(  # noqa: PLR0913, PLR0917 - the task's signature
    dataset_id: str,
    tenant_id: str,
    indexing_technique: str | None,
    index_struct: str | None,
    collection_binding_id: str | None,
    doc_form: str | None,
    pipeline_id: str | None = None,  # noqa: ARG001 - since 1.12; cleaning up pipelines is not replaced
) -> Event:
    """Return the event to clean up after a dataset."""
    return DatasetDeleted(
        dataset_id=dataset_id,
        tenant_id=tenant_id,
        indexing_technique=indexing_technique,
        index_struct=index_struct,
        collection_binding_id=collection_binding_id,
        doc_form=doc_form,
    )


def clean_document_task(document_id: str, dataset_id: str, doc_form: str | None, file_id: str | None) -> Event:
    """Return the event to clean up after one document."""
    return DocumentDeleted(
        document_id=document_id, dataset_id=dataset_id, doc_form=doc_form or DEFAULT_FORM, file_id=file_id or None
    )


def batch_clean_document_task(
    document_ids: list[str], dataset_id: str, doc_form: str | None, file_ids: list[str]
) -> Event:
    """Return the event to clean up after several documents. The platform uses an empty text for an unknown file."""
    return DocumentsDeleted(
        document_ids=document_ids,
        dataset_id=dataset_id,
        doc_form=doc_form or DEFAULT_FORM,
        file_ids=[file_id for file_id in file_ids if file_id],
    )


def clean_notion_document_task(document_ids: list[str], dataset_id: str) -> Event:
    """Return the event for Notion pages that are no longer in a dataset."""
    return DocumentsRemovalRequested(document_ids=document_ids, dataset_id=dataset_id)


@dataclass(frozen=True, slots=True)
class PlatformTask:
    """One task and its event."""

    to_event: Callable[..., Event]
    """Returns the event for the task's arguments."""
    transaction: Literal["sender's", "own"]
    """`"own"` if the platform calls the task after its commit, in a transaction that it does not commit."""

    @property
    def name(self) -> str:
        """The platform's name of the task."""
        return self.to_event.__name__


TASKS = (
    PlatformTask(document_indexing_task, "own"),
    PlatformTask(duplicate_document_indexing_task, "own"),
    PlatformTask(retry_document_indexing_task, "own"),
    PlatformTask(document_indexing_update_task, "own"),
    PlatformTask(recover_document_indexing_task, "own"),
    PlatformTask(document_indexing_sync_task, "own"),
    PlatformTask(sync_website_document_indexing_task, "own"),
    PlatformTask(clean_dataset_task, "sender's"),
    PlatformTask(clean_document_task, "sender's"),
    PlatformTask(batch_clean_document_task, "sender's"),
    PlatformTask(clean_notion_document_task, "sender's"),
)
