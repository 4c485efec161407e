"""Tasks that change segments in the index."""

from sqlalchemy.orm import Session

from schemas import Event, SegmentDeleted, SegmentDisabled, SegmentEnabled, SegmentsImportRequested
from streams.publishing.bridges.platform_rows import owner_of_segment
from streams.publishing.bridges.platform_tasks.task import PlatformTask
from streams.publishing.bridges.sender_transaction import EventSource


def batch_create_segment_to_index_task(  # noqa: PLR0913, PLR0917 - the task's signature
    job_id: str, upload_file_id: str, dataset_id: str, document_id: str, tenant_id: str, user_id: str
) -> Event:
    """Return the event to add the rows of a CSV file."""
    return SegmentsImportRequested(
        job_id=job_id,
        upload_file_id=upload_file_id,
        dataset_id=dataset_id,
        document_id=document_id,
        tenant_id=tenant_id,
        account_id=user_id,
    )


def create_segment_to_index_task(segment_id: str, keywords: list[str] | None = None) -> EventSource:
    """Return the event for a new segment. The segment's row tells its document."""
    return _enabled(segment_id, keywords)


def enable_segment_to_index_task(segment_id: str) -> EventSource:
    """Return the event for a segment that was enabled. Its row tells its document."""
    return _enabled(segment_id, None)


def enable_segments_to_index_task(segment_ids: list[str], dataset_id: str, document_id: str) -> Event:
    """Return the event for segments that were enabled."""
    return SegmentEnabled(segment_ids=segment_ids, dataset_id=dataset_id, document_id=document_id)


def disable_segment_from_index_task(segment_id: str) -> EventSource:
    """Return the event for a segment that was disabled. Its row tells its document."""

    def build(session: Session) -> Event:
        owner = owner_of_segment(session, segment_id)
        return SegmentDisabled(
            tenant_id=owner.tenant_id,
            dataset_id=owner.dataset_id,
            document_id=owner.document_id,
            segment_ids=[segment_id],
        )

    return build


def disable_segments_from_index_task(segment_ids: list[str], dataset_id: str, document_id: str) -> Event:
    """Return the event for segments that were disabled."""
    return SegmentDisabled(segment_ids=segment_ids, dataset_id=dataset_id, document_id=document_id)


def delete_segment_from_index_task(
    index_node_ids: list[str | None], dataset_id: str, document_id: str, child_node_ids: list[str] | None = None
) -> Event:
    """Return the event for segments that are being deleted, with their ids in the index."""
    return SegmentDeleted(
        index_node_ids=index_node_ids,
        dataset_id=dataset_id,
        document_id=document_id,
        child_node_ids=[node_id for node_id in child_node_ids or () if node_id],
    )


def _enabled(segment_id: str, keywords: list[str] | None) -> EventSource:
    def build(session: Session) -> Event:
        owner = owner_of_segment(session, segment_id)
        return SegmentEnabled(
            tenant_id=owner.tenant_id,
            dataset_id=owner.dataset_id,
            document_id=owner.document_id,
            segment_ids=[segment_id],
            keywords=keywords,
        )

    return build


TASKS = (
    PlatformTask(
        "tasks.batch_create_segment_to_index_task.batch_create_segment_to_index_task",
        batch_create_segment_to_index_task,
    ),
    PlatformTask("tasks.create_segment_to_index_task.create_segment_to_index_task", create_segment_to_index_task),
    PlatformTask("tasks.enable_segment_to_index_task.enable_segment_to_index_task", enable_segment_to_index_task),
    PlatformTask("tasks.enable_segments_to_index_task.enable_segments_to_index_task", enable_segments_to_index_task),
    PlatformTask(
        "tasks.disable_segment_from_index_task.disable_segment_from_index_task", disable_segment_from_index_task
    ),
    PlatformTask(
        "tasks.disable_segments_from_index_task.disable_segments_from_index_task", disable_segments_from_index_task
    ),
    PlatformTask(
        "tasks.delete_segment_from_index_task.delete_segment_from_index_task",
        delete_segment_from_index_task,
        "sender's",
    ),
)
