"""A document whose source may have changed: a page of Notion or of the web."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import lock_standing
from streams.dify.errors import RefusedError
from streams.dify.sources.reference import NotionPage, StoredFile, WebPage, last_edited_time, source_of


@dataclass(frozen=True, slots=True)
class Seen:
    """What a document was made from, when it was indexed last."""

    source: NotionPage | WebPage
    edited: str | None
    """The page's time of change then, in Notion's words."""
    indexed: bool
    """False: it has yet to be indexed, or could not be."""


async def look(session: AsyncSession, dataset_id: str, document_id: str) -> Seen:
    """Raises RefusedError where the document comes from a file, which is never looked at again, and Stopped."""
    document = (await lock_standing(session, dataset_id, document_id)).document
    source = await source_of(session, document)
    if isinstance(source, StoredFile):
        message = f"a document from {document.data_source_type} cannot be synchronised: a file does not change"
        raise RefusedError(message)
    edited = last_edited_time(document.data_source_info)
    return Seen(source, edited, indexed=document.indexing_status == "completed")


async def ask_anew(session: AsyncSession, dataset_id: str, document_id: str) -> None:
    """Set the document back to waiting, as the platform does before it asks for an indexing. Raises Stopped."""
    document = (await lock_standing(session, dataset_id, document_id, to_change=True)).document
    document.indexing_status = "waiting"
    document.processing_started_at = document.parsing_completed_at = None
    document.cleaning_completed_at = document.splitting_completed_at = None
    document.completed_at = document.stopped_at = document.error = None
