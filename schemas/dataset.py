"""Datasets: clean up after them."""

from schemas.event import Event


class DatasetDeleted(Event):
    """A dataset's row is being deleted. Carries what clean-up needs, since the row will be gone."""

    dataset_id: str
    indexing_technique: str | None = None
    index_struct: str | None = None
    """JSON text: {"type": ..., "vector_store": {"class_prefix": collection name}}."""
    collection_binding_id: str | None = None
    doc_form: str | None = None
