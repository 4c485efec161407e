"""Events of several documents of a dataset."""

from pydantic import Field

from schemas.event import Event


class DocumentsDeleted(Event):
    """The rows of documents are being deleted. Leads to one `document.deleted` for each."""

    dataset_id: str
    document_ids: list[str]
    file_ids: list[str] = Field(default_factory=list)
    """The upload files of these documents, in any order: they are not paired with the documents."""
    doc_form: str


class DocumentsRemovalRequested(Event):
    """Delete these documents and their rows, for example Notion pages that were removed from a dataset.

    Leads to one `document.deleted` for each document that exists.
    """

    dataset_id: str
    document_ids: list[str]
