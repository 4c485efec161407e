"""Detects that the source of a document has changed: a page of Notion or of the web."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import lock_document
from streams.dify.errors import RefusedError
from streams.dify.sources.reference import NotionPage, StoredFile, WebPage, last_edited_time, source_of


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """The source of a document at its last indexing."""

    source: NotionPage | WebPage
    edited: str | None
    """The page's edit time at the last indexing, in Notion's format."""
    indexed: bool
    """False: the document is not indexed yet, or its indexing failed."""


async def indexed_source(
    session: AsyncSession, dataset_id: str, document_id: str, tenant_id: str | None
) -> IndexedSource:
    """Return the source of a document at its last indexing.

    Raises RefusedError if the source is a file, which never changes, and Stopped.
    """
    document = (await lock_document(session, dataset_id, document_id, tenant_id)).document
    source = await source_of(session, document)
    if isinstance(source, StoredFile):
        message = f"a document from {document.data_source_type} cannot be synchronised: a file does not change"
        raise RefusedError(message)
    edited = last_edited_time(document.data_source_info)
    return IndexedSource(source, edited, indexed=document.indexing_status == "completed")


async def reset_document(session: AsyncSession, dataset_id: str, document_id: str, tenant_id: str | None) -> None:
    """Set the document back to waiting, as the platform does before it requests an indexing. Raises Stopped."""
    document = (await lock_document(session, dataset_id, document_id, tenant_id, for_update=True)).document
    document.indexing_status = "waiting"
    document.processing_started_at = document.parsing_completed_at = None
    document.cleaning_completed_at = document.splitting_completed_at = None
    document.completed_at = document.stopped_at = document.error = None
