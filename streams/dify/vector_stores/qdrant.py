"""The Qdrant index in the platform's layout. Datasets may share a collection; group_id separates their points."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse
from qdrant_client.models import (
    Distance,
    FieldCondition,
    Filter,
    FilterSelector,
    HasIdCondition,
    HnswConfigDiff,
    MatchValue,
    PayloadSchemaType,
    PointStruct,
    VectorParams,
)
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import BusyError, RefusedError, VectorStoreError
from streams.dify.vector_stores.port import (
    AnnotationEntry,
    Entry,
    Match,
    VectorQuery,
    check_length,
    is_own_collection,
    lock_collection,
    wrong_length,
)

_CLIENT_ERRORS = range(400, 500)
_REQUEST_TIMEOUT = 408
_DOCUMENT = "metadata.document_id"
_DATASET = "group_id"
_INDEXED = (_DATASET, _DOCUMENT, "metadata.doc_id", "metadata.doc_hash")


class QdrantIndex:
    """One collection per dataset or per model. Writes are not part of the session's transaction."""

    kind = "qdrant"
    transactional = False
    shares_collections = True

    def __init__(self, connect: Callable[[], AsyncQdrantClient]) -> None:
        self._connect = connect
        # A client's connections belong to the event loop that opened them.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncQdrantClient] = WeakKeyDictionary()

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Create the collection unless it exists. Concurrent calls wait for each other.

        An empty collection for vectors of another length is made anew. Raises RefusedError if it is not empty.
        """
        async with self._connection() as client:
            if await _length(client, collection) == dimensions:
                return
            await lock_collection(session, collection)
            found = await _length(client, collection)
            if found not in {None, dimensions}:
                if (await client.count(collection, exact=True)).count:
                    raise wrong_length(found, dimensions)
                await client.delete_collection(collection)
            if found != dimensions:
                await client.create_collection(
                    collection,
                    vectors_config=VectorParams(size=dimensions, distance=Distance.COSINE),
                    # One graph per dataset instead of one over all, as on the platform.
                    hnsw_config=HnswConfigDiff(m=0, payload_m=16, ef_construct=100, full_scan_threshold=10000),
                )
            for name in _INDEXED:
                await client.create_payload_index(collection, name, field_schema=PayloadSchemaType.KEYWORD)

    async def upsert(
        self,
        session: AsyncSession,  # noqa: ARG002
        collection: str,
        entries: Sequence[Entry | AnnotationEntry],
    ) -> None:
        """Write entries. An entry with the same node id is replaced."""
        if not entries:
            return
        points = [
            PointStruct(
                id=entry.node_id,
                vector=entry.vector,
                payload={
                    "page_content": entry.content,
                    "metadata": entry.metadata,
                    _DATASET: entry.owner_id,
                },
            )
            for entry in entries
        ]
        async with self._connection() as client:
            await client.upsert(collection, points, wait=True)

    async def delete_nodes(
        self,
        session: AsyncSession,  # noqa: ARG002
        collection: str,
        dataset_id: str,
        node_ids: Sequence[str],
    ) -> int:
        """Delete entries of a dataset by node id. Returns the number of deleted entries."""
        if not node_ids:
            return 0
        return await self._delete(collection, _equals(_DATASET, dataset_id), HasIdCondition(has_id=list(node_ids)))

    async def delete_document(
        self,
        session: AsyncSession,  # noqa: ARG002
        collection: str,
        dataset_id: str,
        document_id: str,
    ) -> int:
        """Delete every entry of a document of a dataset, by the ids in its payload. Returns their number."""
        return await self._delete(collection, _equals(_DATASET, dataset_id), _equals(_DOCUMENT, document_id))

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str, *, shared: bool) -> bool:  # noqa: ARG002
        """Delete a dataset's entries, and the collection if it is its own and has no points of other datasets."""
        own = _equals(_DATASET, dataset_id)
        if shared or not is_own_collection(collection, dataset_id):
            return await self._delete(collection, own) > 0
        async with self._connection() as client:
            if not await client.collection_exists(collection):
                return False
            if not (await client.count(collection, Filter(must_not=[own]), exact=True)).count:
                return await client.delete_collection(collection)
        return await self._delete(collection, own) > 0

    async def count(
        self,
        session: AsyncSession,  # noqa: ARG002
        collection: str,
        *,
        dataset_id: str | None = None,
        document_id: str | None = None,
    ) -> int:
        """Return the number of points of the collection, of a dataset, or of a document."""
        wanted = [_equals(name, value) for name, value in ((_DATASET, dataset_id), (_DOCUMENT, document_id)) if value]
        async with self._connection() as client:
            if not await client.collection_exists(collection):
                return 0
            return (await client.count(collection, Filter(must=list(wanted)), exact=True)).count

    async def search(self, session: AsyncSession, query: VectorQuery, k: int) -> list[Match]:  # noqa: ARG002
        """Return the k nearest points of the dataset by cosine similarity, best first."""
        async with self._connection() as client:
            length = await _length(client, query.collection)
            if length is None:
                return []
            check_length(length, query.vector)
            found = await client.query_points(
                query.collection,
                query=query.vector,
                query_filter=Filter(must=[_equals(_DATASET, query.dataset_id)]),
                limit=k,
                with_payload=True,
            )
        return [
            Match(str(point.id), payload["metadata"]["document_id"], payload["page_content"], point.score)
            for point in found.points
            if (payload := point.payload) is not None
        ]

    async def _delete(self, collection: str, *which: FieldCondition | HasIdCondition) -> int:
        async with self._connection() as client:
            if not await client.collection_exists(collection):
                return 0
            selected = Filter(must=list(which))
            found = (await client.count(collection, selected, exact=True)).count
            if found:
                await client.delete(collection, FilterSelector(filter=selected), wait=True)
            return found

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncQdrantClient]:
        """Yield the client of this event loop, and translate its errors to those of the port."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._connect()
        try:
            yield client
        except ResourceExhaustedResponse as error:
            raise BusyError(f"Qdrant is busy: {error}", float(error.retry_after_s)) from error
        except UnexpectedResponse as error:
            message = f"Qdrant answered {error.status_code}: {error.content[:300]!r}"
            if error.status_code in _CLIENT_ERRORS and error.status_code != _REQUEST_TIMEOUT:
                raise RefusedError(message) from error
            raise VectorStoreError(message) from error
        except ApiException as error:
            raise VectorStoreError(f"Qdrant does not answer: {error}") from error


def build_qdrant_index(url: str, api_key: SecretStr | None, timeout: int) -> QdrantIndex:
    """Return the index of the server at a URL. `timeout` is in seconds and must be shorter than a transaction's."""

    def connect() -> AsyncQdrantClient:
        key = api_key.get_secret_value() if api_key else None
        return AsyncQdrantClient(url=url, api_key=key, timeout=timeout, check_compatibility=False)

    return QdrantIndex(connect)


async def _length(client: AsyncQdrantClient, collection: str) -> int | None:
    """Return the length of the collection's vectors; None: there is no such collection."""
    if not await client.collection_exists(collection):
        return None
    vectors = (await client.get_collection(collection)).config.params.vectors
    named = vectors.values() if isinstance(vectors, dict) else [vectors]
    return next((one.size for one in named if one is not None), 0)


def _equals(field: str, value: str) -> FieldCondition:
    return FieldCondition(key=field, match=MatchValue(value=value))
