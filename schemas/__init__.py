"""What travels: one file an event family. Light enough for any producer; imports nothing of `streams`."""

from schemas.dataset import DatasetDeleted
from schemas.document import DocumentDeleted, DocumentIndexCreated, DocumentIndexRequested, DocumentSyncRequested
from schemas.documents import DocumentsDeleted, DocumentsRemovalRequested
from schemas.event import Event
from schemas.message import MessageCreated

__all__ = [
    "DatasetDeleted",
    "DocumentDeleted",
    "DocumentIndexCreated",
    "DocumentIndexRequested",
    "DocumentSyncRequested",
    "DocumentsDeleted",
    "DocumentsRemovalRequested",
    "Event",
    "MessageCreated",
]
