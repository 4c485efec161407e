"""Events of conversations."""

from schemas.event import Event


class ConversationDeleted(Event):
    """A conversation's row was deleted. Its messages, and all that belongs to them, must be deleted."""

    conversation_id: str
