"""The index of Elasticsearch or OpenSearch in the platform's layout, by the part of REST that both have.

A collection is an index whose name is in lower case, with the fields page_content, vector and metadata. The platform
lets the server choose the types of most fields of the metadata: a text, whose exact value is in the field `keyword`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import Vector
from streams.dify.errors import RefusedError, VectorStoreError
from streams.dify.http import JSONObject, as_object
from streams.dify.vector_stores.http_client import StoreClient, shown
from streams.dify.vector_stores.port import (
    AnnotationEntry,
    Entry,
    Match,
    VectorQuery,
    check_length,
    deleted_meanwhile,
    is_used_by_others,
    lock_collection,
    wrong_length,
)
from streams.settings import Settings

Product = Literal["elasticsearch", "opensearch"]
NAMES: Mapping[Product, str] = {"elasticsearch": "Elasticsearch", "opensearch": "OpenSearch"}
_INDEX_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,254}")
_KEYWORDS = ("doc_id", "document_id", "dataset_id", "doc_hash", "annotation_id", "app_id")
_OWNERS = ("dataset_id", "app_id")
_PER_REQUEST = 200
"""Entries in one request, and node ids in one condition."""
_MAX_CANDIDATES = 10_000
"""Elasticsearch examines no more for one search."""
_NEVER: JSONObject = {"match_none": {}}


@dataclass(frozen=True, slots=True)
class _Index:
    """An index as the server has it."""

    name: str
    metadata: JSONObject
    length: int

    def is_one_of(self, field: str, values: Sequence[str]) -> JSONObject:
        """Return the condition that a field of the metadata has one of the values."""
        mapping = as_object(self.metadata.get(field))
        if mapping.get("type") == "keyword":
            return {"terms": {f"metadata.{field}": list(values)}}
        if "keyword" in as_object(mapping.get("fields")):
            return {"terms": {f"metadata.{field}.keyword": list(values)}}
        return _NEVER  # no entry has the field yet

    def owner_is(self, owner_id: str) -> JSONObject:
        """Return the condition for the entries of a dataset, or of an app."""
        return {"bool": {"should": [self.is_one_of(name, [owner_id]) for name in _OWNERS], "minimum_should_match": 1}}


class ElasticsearchIndex:
    """One index per dataset. Writes are not part of the session's transaction, and can be searched at once."""

    transactional = False
    shares_collections = False

    def __init__(self, product: Product, client: StoreClient) -> None:
        self.kind = product
        self._client = client

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Create the index unless it exists. Concurrent calls wait for each other.

        An empty index for vectors of another length is made anew. Raises RefusedError if it is not empty.
        """
        if await self._length(collection) == dimensions:
            return
        await lock_collection(session, collection)
        found = await self._length(collection)
        if found == dimensions:
            return
        name = _index_name(collection)
        if found is not None:
            if await self.count(session, collection):
                raise wrong_length(found, dimensions)
            await self._client.request("DELETE", name)
        await self._client.request("PUT", name, self._definition(dimensions))

    async def upsert(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        entries: Sequence[Entry | AnnotationEntry],
    ) -> None:
        """Write entries. An entry with the same node id is replaced."""
        if not entries:
            return
        found = await self._index(collection)
        if found is None:  # Else the server would create an index with fields of its own choice.
            raise deleted_meanwhile(collection)
        for start in range(0, len(entries), _PER_REQUEST):
            some = entries[start : start + _PER_REQUEST]
            lines = "".join(f"{json.dumps(line)}\n" for line in _bulk_lines(some))
            answer = as_object(
                await self._client.send("POST", f"{found.name}/_bulk?refresh=true", lines=lines.encode())
            )
            if answer.get("errors"):
                raise self._rejected(answer)
            nodes = [entry.node_id for entry in some]
            # The platform's entries have other ids than their nodes in OpenSearch.
            others: dict[str, list[JSONObject]] = {"must_not": [{"ids": {"values": nodes}}]}
            if self.kind == "opensearch":
                await self._delete(await self._index(collection) or found, "doc_id", nodes, others)

    async def delete_nodes(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        dataset_id: str,
        node_ids: Sequence[str],
    ) -> int:
        """Delete entries of a dataset by node id. Returns the number of deleted entries."""
        found = await self._index(collection) if node_ids else None
        if found is None:
            return 0
        own = {"filter": [found.owner_is(dataset_id)]}
        parts = [node_ids[start : start + _PER_REQUEST] for start in range(0, len(node_ids), _PER_REQUEST)]
        return sum([await self._delete(found, "doc_id", part, own) for part in parts])

    async def delete_document(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        dataset_id: str,
        document_id: str,
    ) -> int:
        """Delete every entry of a document of a dataset. Returns their number."""
        found = await self._index(collection)
        if found is None:
            return 0
        return await self._delete(found, "document_id", [document_id], {"filter": [found.owner_is(dataset_id)]})

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str, *, shared: bool) -> bool:
        """Delete a dataset's entries, and the index if it is its own or has no entries of others."""
        found = await self._index(collection)
        if found is None:
            return False
        if shared or await is_used_by_others(self, session, collection, dataset_id):
            return await self._delete_where(found, found.owner_is(dataset_id)) > 0
        await self._client.request("DELETE", found.name)
        return True

    async def count(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        *,
        dataset_id: str | None = None,
        document_id: str | None = None,
    ) -> int:
        """Return the number of entries of the index, of a dataset, or of a document."""
        found = await self._index(collection)
        if found is None:
            return 0
        wanted = [
            *([found.owner_is(dataset_id)] if dataset_id else []),
            *([found.is_one_of("document_id", [document_id])] if document_id else []),
        ]
        query: JSONObject = {"bool": {"filter": wanted}} if wanted else {"match_all": {}}
        answer = await self._client.request("POST", f"{found.name}/_count", {"query": query})
        return _number(answer.get("count"))

    async def search(self, session: AsyncSession, query: VectorQuery, k: int) -> list[Match]:  # noqa: ARG002 - the port's signature
        """Return the k nearest entries by cosine similarity, best first."""
        found = await self._index(query.collection)
        if found is None:
            return []
        check_length(found.length, query.vector)
        answer = await self._client.request("POST", f"{found.name}/_search", self._nearest(query.vector, k))
        hits = as_object(answer.get("hits")).get("hits")
        return [self._match(as_object(hit)) for hit in hits] if isinstance(hits, list) else []

    def _definition(self, dimensions: int) -> JSONObject:
        vector: JSONObject = {"type": "dense_vector", "dims": dimensions, "similarity": "cosine"}
        if self.kind == "opensearch":
            graph = {"ef_construction": 64, "m": 8}
            method = {"name": "hnsw", "space_type": "l2", "engine": "faiss", "parameters": graph}
            vector = {"type": "knn_vector", "dimension": dimensions, "method": method}
        keywords = {name: {"type": "keyword"} for name in _KEYWORDS}
        fields = {
            "page_content": {"type": "text"},
            "vector": vector,
            "metadata": {"type": "object", "properties": keywords},
        }
        settings = {"settings": {"index": {"knn": True}}} if self.kind == "opensearch" else {}
        return {**settings, "mappings": {"properties": fields}}

    def _nearest(self, vector: Vector, k: int) -> JSONObject:
        wanted = {"size": k, "_source": ["page_content", "metadata"]}
        if self.kind == "opensearch":
            return {**wanted, "query": {"knn": {"vector": {"vector": vector, "k": k}}}}
        candidates = min(max(10 * k, 100), _MAX_CANDIDATES)
        return {**wanted, "knn": {"field": "vector", "query_vector": vector, "k": k, "num_candidates": candidates}}

    def _match(self, hit: JSONObject) -> Match:
        source, score = as_object(hit.get("_source")), hit.get("_score")
        metadata, value = as_object(source.get("metadata")), float(score) if isinstance(score, int | float) else 0.0
        # Elasticsearch: (1 + cosine) / 2. OpenSearch: 1 / (1 + d²), where d² is 2 - 2 cosine for vectors of length one.
        cosine = 2 * value - 1 if self.kind == "elasticsearch" else 1 - (1 / value - 1) / 2 if value else -1.0
        return Match(
            str(metadata.get("doc_id")), str(metadata.get("document_id")), str(source.get("page_content")), cosine
        )

    async def _index(self, collection: str) -> _Index | None:
        name = _index_name(collection)
        answer = await self._client.request("GET", name)
        if not answer:
            return None
        mappings = as_object(as_object(answer.get(name)).get("mappings"))
        fields = as_object(mappings.get("properties"))
        vector = as_object(fields.get("vector"))
        metadata = as_object(as_object(fields.get("metadata")).get("properties"))
        return _Index(name, metadata, _number(vector.get("dims") or vector.get("dimension")))

    async def _length(self, collection: str) -> int | None:
        found = await self._index(collection)
        return None if found is None else found.length

    async def _delete(
        self, found: _Index, field: str, values: Sequence[str], more: Mapping[str, list[JSONObject]]
    ) -> int:
        wanted = [found.is_one_of(field, values), *more.get("filter", [])]
        return await self._delete_where(found, {"bool": {**more, "filter": wanted}})

    async def _delete_where(self, found: _Index, query: JSONObject) -> int:
        path = f"{found.name}/_delete_by_query?refresh=true&conflicts=proceed"
        answer = await self._client.request("POST", path, {"query": query})
        left = _number(answer.get("version_conflicts"))
        if left or answer.get("failures"):
            message = f"{NAMES[self.kind]} has not deleted everything: {left} entries were changed by others meanwhile"
            raise VectorStoreError(message)
        return _number(answer.get("deleted"))

    def _rejected(self, answer: JSONObject) -> Exception:
        """Return the error of the first entry that was not written: 4xx is permanent, but for 429."""
        items = answer.get("items")
        results = [as_object(as_object(item).get("index")) for item in items] if isinstance(items, list) else []
        first = next((one for one in results if one.get("error")), {})
        message = f"{NAMES[self.kind]} rejects an entry: {shown(json.dumps(first.get('error')))}"
        is_refused = httpx.codes.is_client_error(_number(first.get("status"))) and first.get("status") != 429  # noqa: PLR2004
        return RefusedError(message) if is_refused else VectorStoreError(message)


def build_elasticsearch_index(settings: Settings) -> ElasticsearchIndex:
    """Return the index of the server of the settings: OpenSearch if they say so, else Elasticsearch."""
    product: Product = "opensearch" if settings.vector_store == "opensearch" else "elasticsearch"
    auth = elasticsearch_login(settings)
    client = StoreClient(NAMES[product], settings.elasticsearch_url, settings.elasticsearch_timeout, auth=auth)
    return ElasticsearchIndex(product, client)


def elasticsearch_login(settings: Settings) -> httpx.BasicAuth | None:
    """Return the login of the settings. None: the server asks for none."""
    user, password = settings.elasticsearch_user, settings.elasticsearch_password
    return httpx.BasicAuth(user, password.get_secret_value() if password else "") if user else None


def _index_name(collection: str) -> str:
    """Return the name of an index: the server takes lower case only. Raises RefusedError for what cannot be a name."""
    name = collection.lower()
    if not _INDEX_NAME.fullmatch(name):
        message = f"{shown(collection)!r} cannot be the name of an index"
        raise RefusedError(message)
    return name


def _bulk_lines(entries: Sequence[Entry | AnnotationEntry]) -> Iterator[JSONObject]:
    for entry in entries:
        yield {"index": {"_id": entry.node_id}}
        yield {"page_content": entry.content, "vector": entry.vector, "metadata": entry.metadata}


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
