"""Events of segments of a document."""

from pydantic import Field

from schemas.event import Event


class SegmentEnabled(Event):
    """Segments of a document were enabled, or one was created. The index must have them."""

    document_id: str
    dataset_id: str
    segment_ids: list[str]
    keywords: list[str] | None = None
    """The keywords that a person gave to a new segment; null: they are taken from its text."""


class SegmentDisabled(Event):
    """Segments of a document were disabled. The index must not have them."""

    document_id: str
    dataset_id: str
    segment_ids: list[str]


class SegmentDeleted(Event):
    """Segments of a document are being deleted. Contains the ids in the index, because the rows will be gone."""

    document_id: str
    dataset_id: str
    index_node_ids: list[str | None]
    """Null for a segment that was never indexed."""
    child_node_ids: list[str] = Field(default_factory=list)
    """The ids of the segments' child chunks in the index."""


class SegmentsImportRequested(Event):
    """Add the rows of a CSV file to a document as segments."""

    job_id: str
    document_id: str
    dataset_id: str
    upload_file_id: str
    account_id: str
