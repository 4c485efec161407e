"""The vector index port: collections of vectors, with the platform's names, and what all stores share."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import Vector
from streams.dify.errors import RefusedError, VectorStoreError
from streams.dify.ids import checked_text
from streams.dify.models.json_text import read_object

_ID = re.compile("(?=([0-9a-f]{8}(?:_[0-9a-f]{4}){3}_[0-9a-f]{12}))", re.IGNORECASE)
"""An id in a name. The pattern is a lookahead, so that it also finds ids that overlap."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of a document with its vector."""

    node_id: str
    content: str
    content_hash: str
    document_id: str
    dataset_id: str
    vector: Vector
    place: Mapping[str, str | int] = field(default_factory=dict)
    """Where the piece is in its file, such as its page or its row."""

    @property
    def owner_id(self) -> str:
        """The dataset that the entry belongs to."""
        return self.dataset_id

    @property
    def metadata(self) -> dict[str, str | int]:
        """The metadata with the platform's names, beside the place, as the platform has there what its readers know."""
        return {
            **self.place,
            "doc_id": self.node_id,
            "doc_hash": self.content_hash,
            "document_id": self.document_id,
            "dataset_id": self.dataset_id,
        }


@dataclass(frozen=True, slots=True)
class AnnotationEntry:
    """The question of an annotation with its vector. The app takes the place of a dataset, as on the platform."""

    annotation_id: str
    app_id: str
    content: str
    """The question."""
    vector: Vector

    @property
    def node_id(self) -> str:
        """The id of the entry: an annotation has one, whatever is repeated."""
        return self.annotation_id

    @property
    def owner_id(self) -> str:
        """The app that the entry belongs to."""
        return self.app_id

    @property
    def metadata(self) -> dict[str, str | int]:
        """The metadata with the platform's names. There is no document."""
        return {"doc_id": self.annotation_id, "annotation_id": self.annotation_id, "app_id": self.app_id}


@dataclass(frozen=True, slots=True)
class Match:
    """A search result."""

    node_id: str
    document_id: str
    content: str
    score: float
    """Cosine similarity; 1 means the same direction."""


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """A search for the entries of a dataset that are nearest to a vector."""

    collection: str
    dataset_id: str
    vector: Vector


class VectorIndex(Protocol):
    """Collections of vectors. A collection belongs to one dataset or is shared by several.

    The annotations of an app are a dataset with the app's id: `dataset_id` is that id for them.
    A collection that does not exist counts as empty: it can be read and deleted from. A store outside the session's
    database writes at once, within its own timeout. It raises VectorStoreError, BusyError or RefusedError.
    """

    @property
    def transactional(self) -> bool:
        """Whether its writes commit with the session's transaction."""

    @property
    def shares_collections(self) -> bool:
        """Whether a dataset with a collection binding uses the collection of the binding."""

    @property
    def kind(self) -> str:
        """The name of the store in datasets.index_struct."""

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Create the collection unless it exists. Concurrent calls are safe.

        An empty collection for vectors of another length is made anew. Raises RefusedError if it is not empty.
        """

    async def upsert(self, session: AsyncSession, collection: str, entries: Sequence[Entry | AnnotationEntry]) -> None:
        """Write entries. An entry with the same node id is replaced."""

    async def delete_nodes(
        self, session: AsyncSession, collection: str, dataset_id: str, node_ids: Sequence[str]
    ) -> int:
        """Delete entries of a dataset by node id (a UUID). Returns the number of deleted entries."""

    async def delete_document(self, session: AsyncSession, collection: str, dataset_id: str, document_id: str) -> int:
        """Delete every entry of a document of a dataset. Returns the number of deleted entries."""

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str, *, shared: bool) -> bool:
        """Delete every entry of a dataset, and the collection if no other dataset uses it.

        Args:
            session: the transaction.
            collection: the collection that an event, a row or the dataset's id names.
            dataset_id: the deleted dataset.
            shared: whether rows of the platform say that others use the collection. Then it is never dropped.

        Returns:
            Whether there was anything to delete.
        """

    async def count(
        self, session: AsyncSession, collection: str, *, dataset_id: str | None = None, document_id: str | None = None
    ) -> int:
        """Return the number of entries of the collection, of a dataset, or of a document."""

    async def search(self, session: AsyncSession, query: VectorQuery, k: int) -> list[Match]:
        """Return the k nearest entries, best first. Raises RefusedError if the collection has another length."""


async def lock_collection(session: AsyncSession, name: str) -> None:
    """Let other transactions that create the same collection wait for this one."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"vector collection {name}", 0))))


async def is_used_by_others(index: VectorIndex, session: AsyncSession, collection: str, dataset_id: str) -> bool:
    """Return whether a collection is not a dataset's own by its name, and has entries of others."""
    if is_own_collection(collection, dataset_id):
        return False
    return await index.count(session, collection) > await index.count(session, collection, dataset_id=dataset_id)


def deleted_meanwhile(collection: str) -> VectorStoreError:
    """Return the error of entries whose collection is not there any more."""
    return VectorStoreError(f"the collection {collection} was deleted during the work")


def wrong_length(found: int, dimensions: int) -> RefusedError:
    """Return the error of a collection whose vectors have another length than those of the model."""
    return RefusedError(f"the collection has vectors of {found} numbers, the model gives {dimensions}")


def check_length(found: int, vector: Vector, *, unknown: int = 0) -> None:
    """Check that a collection can be searched for a vector: each store has its own words for that, if any.

    Args:
        found: The length of the collection's vectors.
        vector: The vector to search for.
        unknown: What stands for a collection that does not say its length, or has no vectors yet.

    Raises:
        RefusedError: The lengths differ.
    """
    if found not in {unknown, len(vector)}:
        raise wrong_length(found, len(vector))


def collection_name(prefix: str, dataset_id: str) -> str:
    """Return the platform's name of a dataset's collection: ``<prefix>_<uuid with _>_Node``."""
    return f"{prefix}_{dataset_id.replace('-', '_')}_Node"


def is_own_collection(name: str, dataset_id: str) -> bool:
    """Return whether a name in the store marks a collection as this dataset's own.

    `name` is the name as the store has it: a store that truncates names may have truncated the dataset's id.
    """
    return bool(dataset_id) and dataset_id.replace("-", "_").lower() in name.lower()


def datasets_in(collection: str) -> list[str]:
    """Return the ids of all datasets whose ids occur in the name of a collection."""
    return [found.replace("_", "-").lower() for found in _ID.findall(collection)]


def index_struct(kind: str, collection: str) -> str:
    """Return the index_struct of a dataset with vectors: JSON text."""
    return json.dumps({"type": kind, "vector_store": {"class_prefix": collection}})


def store_from_struct(struct: str) -> str | None:
    """Return the store that an index_struct names, as `VectorIndex.kind`; None if it names none, or no collection."""
    found = read_object(struct) or {}
    kind = found.get("type")
    return kind if isinstance(kind, str) and found.get("vector_store") else None


def collection_from_struct(struct: str) -> str | None:
    """Return the collection that an index_struct names; None if it names none, as for a keyword index.

    Raises RefusedError if it is not the platform's JSON.
    """
    message = f"index_struct is not the platform's JSON: {struct[:200]!r}"
    found = read_object(struct)
    store = found.get("vector_store") if found is not None else None
    if found is None or not (store is None or isinstance(store, dict)):
        raise RefusedError(message)
    name = (store or {}).get("class_prefix")
    if not (name is None or isinstance(name, str)):
        raise RefusedError(message)
    return checked_text("class_prefix", name) if name else None
