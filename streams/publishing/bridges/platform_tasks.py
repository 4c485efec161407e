"""The platform's Celery tasks that events replace: each with its signature, and which transaction is its senders'.

To replace another one: a function of its name and signature that makes the event, and its line in `TASKS`.
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
    """First indexing of a batch."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def duplicate_document_indexing_task(dataset_id: str, document_ids: list[str]) -> Event:
    """Documents uploaded again, whose rows wait."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def retry_document_indexing_task(dataset_id: str, document_ids: list[str], user_id: str | None = None) -> Event:  # noqa: ARG001 - the task's signature
    """Documents that failed, whose rows wait; who asked for it is no part of the work."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def document_indexing_update_task(dataset_id: str, document_id: str) -> Event:
    """A document whose content or settings changed."""
    return DocumentIndexRequested(dataset_id=dataset_id, document_id=document_id)


def recover_document_indexing_task(dataset_id: str, document_id: str) -> Event:
    """A document that was paused."""
    return DocumentIndexRequested(dataset_id=dataset_id, document_id=document_id)


def document_indexing_sync_task(dataset_id: str, document_id: str) -> Event:
    """A page of Notion."""
    return DocumentSyncRequested(dataset_id=dataset_id, document_id=document_id)


def sync_website_document_indexing_task(dataset_id: str, document_id: str) -> Event:
    """A page of the web."""
    return DocumentSyncRequested(dataset_id=dataset_id, document_id=document_id)


def clean_dataset_task(  # noqa: PLR0913, PLR0917 - the task's signature
    dataset_id: str,
    tenant_id: str,
    indexing_technique: str | None,
    index_struct: str | None,
    collection_binding_id: str | None,
    doc_form: str | None,
    pipeline_id: str | None = None,  # noqa: ARG001 - of 1.12; clean-up of pipelines is not replaced
) -> Event:
    """The clean-up after a dataset."""
    return DatasetDeleted(
        dataset_id=dataset_id,
        tenant_id=tenant_id,
        indexing_technique=indexing_technique,
        index_struct=index_struct,
        collection_binding_id=collection_binding_id,
        doc_form=doc_form,
    )


def clean_document_task(document_id: str, dataset_id: str, doc_form: str | None, file_id: str | None) -> Event:
    """The clean-up after one document."""
    return DocumentDeleted(
        document_id=document_id, dataset_id=dataset_id, doc_form=doc_form or DEFAULT_FORM, file_id=file_id or None
    )


def batch_clean_document_task(
    document_ids: list[str], dataset_id: str, doc_form: str | None, file_ids: list[str]
) -> Event:
    """The clean-up after several; the platform names a file that it does not know with an empty text."""
    return DocumentsDeleted(
        document_ids=document_ids,
        dataset_id=dataset_id,
        doc_form=doc_form or DEFAULT_FORM,
        file_ids=[file_id for file_id in file_ids if file_id],
    )


def clean_notion_document_task(document_ids: list[str], dataset_id: str) -> Event:
    """Pages that are in a dataset no more."""
    return DocumentsRemovalRequested(document_ids=document_ids, dataset_id=dataset_id)


@dataclass(frozen=True, slots=True)
class PlatformTask:
    """One task and its event."""

    event_of: Callable[..., Event]
    """The task's arguments → event."""
    transaction: Literal["sender's", "own"]
    """Own: the platform calls it after its commit, with a transaction open that it commits no more."""

    @property
    def name(self) -> str:
        """As the platform calls it."""
        return self.event_of.__name__


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
