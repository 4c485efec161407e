"""Tasks that clean up after what was deleted."""

from sqlalchemy.orm import Session

from schemas import (
    AppDeleted,
    ConversationDeleted,
    DatasetDeleted,
    DocumentDeleted,
    DocumentsDeleted,
    DocumentsRemovalRequested,
    Event,
)
from streams.publishing.bridges.platform_rows import pipeline_of
from streams.publishing.bridges.platform_signals import DEFAULT_FORM
from streams.publishing.bridges.platform_tasks.task import PlatformTask
from streams.publishing.bridges.sender_transaction import EventSource


def clean_dataset_task(  # noqa: PLR0913, PLR0917 - the task's signature
    dataset_id: str,
    tenant_id: str,
    indexing_technique: str | None,
    index_struct: str | None,
    collection_binding_id: str | None,
    doc_form: str | None,
    pipeline_id: str | None = None,
) -> EventSource:
    """Return the event to clean up after a dataset. Before Dify 1.12 its row tells the pipeline."""

    def build(session: Session) -> Event:
        return DatasetDeleted(
            dataset_id=dataset_id,
            tenant_id=tenant_id,
            indexing_technique=indexing_technique,
            index_struct=index_struct,
            collection_binding_id=collection_binding_id,
            doc_form=doc_form,
            pipeline_id=pipeline_id or pipeline_of(session, dataset_id),
        )

    return build


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
        file_ids=[file_id for file_id in file_ids or () if file_id],
    )


def clean_notion_document_task(document_ids: list[str], dataset_id: str) -> Event:
    """Return the event for Notion pages that are no longer in a dataset."""
    return DocumentsRemovalRequested(document_ids=document_ids, dataset_id=dataset_id)


def remove_app_and_related_data_task(tenant_id: str, app_id: str) -> Event:
    """Return the event to clean up after an app."""
    return AppDeleted(tenant_id=tenant_id, app_id=app_id)


def delete_conversation_related_data(conversation_id: str) -> Event:
    """Return the event to clean up after a conversation. Its tenant is not known: its row was deleted before."""
    return ConversationDeleted(conversation_id=conversation_id)


TASKS = (
    PlatformTask("tasks.clean_dataset_task.clean_dataset_task", clean_dataset_task, "sender's"),
    PlatformTask("tasks.clean_document_task.clean_document_task", clean_document_task, "sender's"),
    PlatformTask("tasks.batch_clean_document_task.batch_clean_document_task", batch_clean_document_task, "sender's"),
    PlatformTask("tasks.clean_notion_document_task.clean_notion_document_task", clean_notion_document_task, "sender's"),
    PlatformTask(
        "tasks.remove_app_and_related_data_task.remove_app_and_related_data_task", remove_app_and_related_data_task
    ),
    PlatformTask("tasks.delete_conversation_task.delete_conversation_related_data", delete_conversation_related_data),
)
