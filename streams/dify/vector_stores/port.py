"""The vector index port: collections of vectors, named as the platform names them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import Vector
from streams.dify.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of a document with its vector."""

    node_id: str
    content: str
    content_hash: str
    document_id: str
    dataset_id: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class Match:
    """A piece that was found."""

    node_id: str
    document_id: str
    content: str
    score: float
    """Cosine similarity, 1 is the same direction."""


@dataclass(frozen=True, slots=True)
class Nearby:
    """What is looked for: a dataset's entries near a vector."""

    collection: str
    dataset_id: str
    vector: Vector


class VectorIndex(Protocol):
    """Collections of vectors, one a dataset or shared by several.

    A collection that does not exist holds nothing: reading and deleting are fine. A store that is not in the session's
    database writes at once, within its own time-out; it raises VectorStoreError, BusyError or RefusedError.
    """

    @property
    def transactional(self) -> bool:
        """Whether what it writes commits with the session's transaction."""

    @property
    def shares_collections(self) -> bool:
        """Whether a dataset's collection is the one of its collection binding, where it has one."""

    @property
    def kind(self) -> str:
        """The store's name in datasets.index_struct."""

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Make the collection unless it exists; safe while others do the same."""

    async def upsert(self, session: AsyncSession, collection: str, entries: Sequence[Entry]) -> None:
        """Write entries; one with the same node id is replaced."""

    async def delete_nodes(self, session: AsyncSession, collection: str, node_ids: Sequence[str]) -> int:
        """Remove entries by node id, a UUID; says how many there were."""

    async def delete_document(self, session: AsyncSession, collection: str, document_id: str) -> int:
        """Remove every entry of a document; says how many there were."""

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str) -> bool:
        """Remove every entry of a dataset, and the collection unless others share it; says whether there was any."""

    async def count(
        self, session: AsyncSession, collection: str, *, dataset_id: str | None = None, document_id: str | None = None
    ) -> int:
        """Entries in the collection; only those of a dataset or of a document where one is given."""

    async def search(self, session: AsyncSession, nearby: Nearby, k: int) -> list[Match]:
        """The k nearest entries, best first."""


def collection_name(prefix: str, dataset_id: str) -> str:
    """The platform's name for a dataset's collection: ``<prefix>_<uuid with _>_Node``."""
    return f"{prefix}_{dataset_id.replace('-', '_')}_Node"


def made_for(collection: str, dataset_id: str) -> bool:
    """Whether the collection's name says that it is this dataset's own."""
    return dataset_id.replace("-", "_") in collection


def index_struct(kind: str, collection: str) -> str:
    """What datasets.index_struct holds once a dataset has vectors: JSON text."""
    return json.dumps({"type": kind, "vector_store": {"class_prefix": collection}})


def collection_in(struct: str) -> str | None:
    """The collection that an index_struct names; None where it names none, as a keyword index does.

    Raises RefusedError where it is not such a JSON text.
    """
    message = f"index_struct is not the platform's: {struct[:200]!r}"
    try:
        found = json.loads(struct)
    except ValueError as error:
        raise RefusedError(message) from error
    store = found.get("vector_store") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not (store is None or isinstance(store, dict)):
        raise RefusedError(message)
    name = (store or {}).get("class_prefix")
    if not (name is None or isinstance(name, str)):
        raise RefusedError(message)
    return name or None
