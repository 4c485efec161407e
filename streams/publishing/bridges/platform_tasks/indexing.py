"""Tasks that index documents."""

from sqlalchemy.orm import Session

from schemas import (
    DatasetIndexChanged,
    DocumentDisabled,
    DocumentEnabled,
    DocumentIndexCreated,
    DocumentIndexRequested,
    DocumentSyncRequested,
    Event,
    PipelineRunRequested,
)
from streams.publishing.bridges.platform_rows import is_of_pipeline
from streams.publishing.bridges.platform_tasks.task import AFTER_SENDER, PlatformTask
from streams.publishing.bridges.sender_transaction import EventSource


def document_indexing_task(dataset_id: str, document_ids: list[str]) -> Event:
    """Return the event for the first indexing of a batch."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def duplicate_document_indexing_task(dataset_id: str, document_ids: list[str]) -> Event:
    """Return the event for documents that were uploaded again. Their rows are waiting."""
    return DocumentIndexCreated(dataset_id=dataset_id, document_ids=document_ids)


def retry_document_indexing_task(dataset_id: str, document_ids: list[str], user_id: str | None = None) -> EventSource:  # noqa: ARG001 - the task's signature
    """Return the event for failed documents whose rows are waiting. The work does not depend on the user.

    Documents of a pipeline are run by the pipeline again.
    """

    def build(session: Session) -> Event:
        kind = PipelineRunRequested if is_of_pipeline(session, dataset_id) else DocumentIndexCreated
        return kind(dataset_id=dataset_id, document_ids=document_ids)

    return build


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


def add_document_to_index_task(document_id: str) -> Event:
    """Return the event for a document that was enabled or taken out of the archive."""
    return DocumentEnabled(document_id=document_id)


def remove_document_from_index_task(document_id: str) -> Event:
    """Return the event for a document that was disabled or archived."""
    return DocumentDisabled(document_id=document_id)


def deal_dataset_vector_index_task(dataset_id: str, action: str) -> Event:
    """Return the event for a dataset with another indexing technique or embedding model."""
    return DatasetIndexChanged.model_validate({"dataset_id": dataset_id, "action": action})


def deal_dataset_index_update_task(dataset_id: str, action: str) -> Event:
    """Return the event for a dataset of a pipeline whose index settings changed."""
    return DatasetIndexChanged.model_validate({"dataset_id": dataset_id, "action": action})


TASKS = (
    PlatformTask("tasks.document_indexing_task.document_indexing_task", document_indexing_task),
    PlatformTask(
        "tasks.duplicate_document_indexing_task.duplicate_document_indexing_task", duplicate_document_indexing_task
    ),
    PlatformTask("tasks.retry_document_indexing_task.retry_document_indexing_task", retry_document_indexing_task),
    PlatformTask("tasks.document_indexing_update_task.document_indexing_update_task", document_indexing_update_task),
    PlatformTask("tasks.recover_document_indexing_task.recover_document_indexing_task", recover_document_indexing_task),
    PlatformTask("tasks.document_indexing_sync_task.document_indexing_sync_task", document_indexing_sync_task),
    PlatformTask(
        "tasks.sync_website_document_indexing_task.sync_website_document_indexing_task",
        sync_website_document_indexing_task,
    ),
    # The platform sets `document_<id>_indexing` in Redis after these two calls. The handler deletes it.
    PlatformTask(
        "tasks.add_document_to_index_task.add_document_to_index_task", add_document_to_index_task, delay=AFTER_SENDER
    ),
    PlatformTask(
        "tasks.remove_document_from_index_task.remove_document_from_index_task",
        remove_document_from_index_task,
        delay=AFTER_SENDER,
    ),
    PlatformTask("tasks.deal_dataset_vector_index_task.deal_dataset_vector_index_task", deal_dataset_vector_index_task),
    PlatformTask("tasks.deal_dataset_index_update_task.deal_dataset_index_update_task", deal_dataset_index_update_task),
)
