"""Events of collections in the vector store."""

from schemas.event import Event


class CollectionsDropped(Event):
    """Collections were dropped. The platform must no longer believe that they exist, or its next insert fails."""

    collections: list[str]
