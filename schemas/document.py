"""Documents of a dataset: index them, clean up after them."""

from schemas.event import Event


class DocumentIndexRequested(Event):
    """Index one document; a batch upload sends one event a document."""

    dataset_id: str
    document_id: str


class DocumentIndexCreated(Event):
    """Index these documents of one dataset; leads to one `document.index-requested` for each."""

    dataset_id: str
    document_ids: list[str]


class DocumentDeleted(Event):
    """A document's row is being deleted: its vectors, segments and files must go."""

    document_id: str
    dataset_id: str
    doc_form: str
    file_id: str | None = None
    """The upload file it came from; null for other sources."""
