"""Several documents of a dataset at once: clean up after them, remove them."""

from pydantic import Field

from schemas.event import Event


class DocumentsDeleted(Event):
    """The rows of documents are being deleted; leads to one `document.deleted` for each."""

    dataset_id: str
    document_ids: list[str]
    file_ids: list[str] = Field(default_factory=list)
    """The upload files that documents among them came from, in no order: they are not paired with the documents."""
    doc_form: str


class DocumentsRemovalRequested(Event):
    """Delete these documents, rows and all, as Notion pages that are in a dataset no more want it.

    Leads to one `document.deleted` for each that is there.
    """

    dataset_id: str
    document_ids: list[str]
