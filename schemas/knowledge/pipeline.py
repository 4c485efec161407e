"""Events of the platform's own pipelines, which fill datasets."""

from pydantic import Field

from schemas.event import Event


class PipelineRunRequested(Event):
    """Run a pipeline for what a stored file lists, or again for documents that have failed."""

    file_id: str | None = None
    """The upload file with the runs, as JSON; null for documents that have failed."""
    dataset_id: str | None = None
    document_ids: list[str] = Field(default_factory=list)
    priority: bool = False
    """True: the tenant's waiting list is not used."""
