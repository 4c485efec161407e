"""Events of one document of a dataset."""

from schemas.event import Event


class DocumentIndexRequested(Event):
    """Index one document. A waiting document is indexed from the start, an unfinished indexing is continued.

    It is the request for a first indexing (a batch upload publishes one event per document), for a document whose
    content or settings were changed, for a retry, and for a document that was paused.
    """

    dataset_id: str
    document_id: str


class DocumentIndexCreated(Event):
    """Index these documents of one dataset. Leads to one `document.index-requested` for each."""

    dataset_id: str
    document_ids: list[str]


class DocumentSyncRequested(Event):
    """Check the source of a document (a page of Notion or of the web), and index it again if it has changed."""

    dataset_id: str
    document_id: str


class DocumentDeleted(Event):
    """A document's row is being deleted. Its vectors, segments and files must be deleted."""

    document_id: str
    dataset_id: str
    doc_form: str
    file_id: str | None = None
    """The upload file of the document; null for other sources."""


class DocumentEnabled(Event):
    """A document was enabled or taken out of the archive. The index must have its segments."""

    document_id: str


class DocumentDisabled(Event):
    """A document was disabled or archived. The index must not have its segments."""

    document_id: str
