"""Documents of a dataset: index them, clean up after them."""

from schemas.event import Event


class DocumentIndexRequested(Event):
    """Index one document, as its row says: anew where it is waiting, from where it stopped where it is indexing.

    So it is the request for a first indexing (a batch upload sends one event a document), for a document whose content
    or settings were changed, for a retry, and for one that was paused.
    """

    dataset_id: str
    document_id: str


class DocumentIndexCreated(Event):
    """Index these documents of one dataset; leads to one `document.index-requested` for each."""

    dataset_id: str
    document_ids: list[str]


class DocumentSyncRequested(Event):
    """Look at a document's source again, a page of Notion or of the web, and index it anew where that has changed."""

    dataset_id: str
    document_id: str


class DocumentDeleted(Event):
    """A document's row is being deleted: its vectors, segments and files must go."""

    document_id: str
    dataset_id: str
    doc_form: str
    file_id: str | None = None
    """The upload file it came from; null for other sources."""
