"""Tasks of annotations."""

from collections.abc import Mapping, Sequence

from schemas import (
    AnnotationAdded,
    AnnotationDeleted,
    AnnotationReplyDisabled,
    AnnotationReplyEnabled,
    AnnotationRow,
    AnnotationsImportRequested,
    AnnotationUpdated,
    Event,
)
from streams.publishing.bridges.json_values import json_object
from streams.publishing.bridges.platform_tasks.task import AFTER_SENDER, PlatformTask


def add_annotation_to_index_task(
    annotation_id: str, question: str, tenant_id: str, app_id: str, collection_binding_id: str
) -> Event:
    """Return the event for a new annotation."""
    return AnnotationAdded(
        annotation_id=annotation_id,
        question=question,
        tenant_id=tenant_id,
        app_id=app_id,
        collection_binding_id=collection_binding_id,
    )


def update_annotation_to_index_task(
    annotation_id: str, question: str, tenant_id: str, app_id: str, collection_binding_id: str
) -> Event:
    """Return the event for a changed annotation."""
    return AnnotationUpdated(
        annotation_id=annotation_id,
        question=question,
        tenant_id=tenant_id,
        app_id=app_id,
        collection_binding_id=collection_binding_id,
    )


def delete_annotation_index_task(annotation_id: str, app_id: str, tenant_id: str, collection_binding_id: str) -> Event:
    """Return the event for an annotation that is being deleted."""
    return AnnotationDeleted(
        annotation_id=annotation_id, app_id=app_id, tenant_id=tenant_id, collection_binding_id=collection_binding_id
    )


def enable_annotation_reply_task(  # noqa: PLR0913, PLR0917 - the task's signature
    job_id: str,
    app_id: str,
    user_id: str,
    tenant_id: str,
    score_threshold: float,
    embedding_provider_name: str,
    embedding_model_name: str,
) -> Event:
    """Return the event for an app that shall answer from its annotations."""
    return AnnotationReplyEnabled(
        job_id=job_id,
        app_id=app_id,
        account_id=user_id,
        tenant_id=tenant_id,
        score_threshold=score_threshold,
        embedding_provider_name=embedding_provider_name,
        embedding_model_name=embedding_model_name,
    )


def disable_annotation_reply_task(job_id: str, app_id: str, tenant_id: str) -> Event:
    """Return the event for an app that shall no longer answer from its annotations."""
    return AnnotationReplyDisabled(job_id=job_id, app_id=app_id, tenant_id=tenant_id)


def batch_import_annotations_task(
    job_id: str, content_list: Sequence[Mapping[str, object]], app_id: str, tenant_id: str, user_id: str
) -> Event:
    """Return the event to add the rows of a file to an app."""
    rows = [AnnotationRow(question=_cell(row, "question"), answer=_cell(row, "answer")) for row in content_list]
    return AnnotationsImportRequested(job_id=job_id, rows=rows, app_id=app_id, tenant_id=tenant_id, account_id=user_id)


def _cell(row: Mapping[str, object], name: str) -> str:
    """Return a cell as text. The platform's reader of CSV files gives the number NaN for an empty cell."""
    value = json_object(row, "content_list[]").get(name)
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 - only NaN differs from itself


TASKS = (
    PlatformTask(
        "tasks.annotation.add_annotation_to_index_task.add_annotation_to_index_task", add_annotation_to_index_task
    ),
    PlatformTask(
        "tasks.annotation.update_annotation_to_index_task.update_annotation_to_index_task",
        update_annotation_to_index_task,
    ),
    # Called after the commit for one annotation, when a query has opened another transaction, which is not committed.
    # Called before the commit for several: then the handler may find the row, and retries.
    PlatformTask(
        "tasks.annotation.delete_annotation_index_task.delete_annotation_index_task",
        delete_annotation_index_task,
        delay=AFTER_SENDER,
    ),
    PlatformTask(
        "tasks.annotation.enable_annotation_reply_task.enable_annotation_reply_task", enable_annotation_reply_task
    ),
    PlatformTask(
        "tasks.annotation.disable_annotation_reply_task.disable_annotation_reply_task", disable_annotation_reply_task
    ),
    PlatformTask(
        "tasks.annotation.batch_import_annotations_task.batch_import_annotations_task", batch_import_annotations_task
    ),
)
