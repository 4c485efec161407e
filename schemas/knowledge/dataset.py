"""Events of datasets."""

from schemas.event import Event


class DatasetDeleted(Event):
    """A dataset's row is being deleted. Contains the facts that clean-up needs after the deletion."""

    dataset_id: str
    indexing_technique: str | None = None
    index_struct: str | None = None
    """JSON text: {"type": ..., "vector_store": {"class_prefix": collection name}}."""
    collection_binding_id: str | None = None
    doc_form: str | None = None
