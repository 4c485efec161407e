"""Events of datasets."""

from typing import Literal

from schemas.event import Event


class DatasetDeleted(Event):
    """A dataset's row is being deleted. Contains the facts that clean-up needs after the deletion."""

    dataset_id: str
    indexing_technique: str | None = None
    index_struct: str | None = None
    """JSON text: {"type": ..., "vector_store": {"class_prefix": collection name}}."""
    collection_binding_id: str | None = None
    doc_form: str | None = None
    pipeline_id: str | None = None
    """The pipeline of a dataset that a pipeline fills. It is deleted with its workflows."""


class DatasetIndexChanged(Event):
    """A dataset's indexing technique or embedding model was changed. Its index must follow."""

    dataset_id: str
    action: Literal["add", "update", "remove", "upgrade"]
    """add: from economy to high_quality; remove: back; update: another embedding model; upgrade: of a pipeline."""
    document_id: str | None = None
    """One step of the work: this document only. Null: the whole dataset, which leads to one step per document."""
