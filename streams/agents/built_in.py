"""All handlers that the project brings."""

from schemas import Event
from streams.agents import dataset, document, documents, message, sync
from streams.delivery.handler import Handler

HANDLERS: tuple[Handler[Event], ...] = (
    *document.HANDLERS,
    *sync.HANDLERS,
    *documents.HANDLERS,
    *dataset.HANDLERS,
    *message.HANDLERS,
)
