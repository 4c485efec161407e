"""The Weaviate index in the platform's layout, by its REST and GraphQL interface: it needs no port of gRPC.

A collection is a class with the vector ``default`` and the properties text, document_id, doc_id and chunk_index; the
others are those of the metadata. Classes of older versions of the platform have one vector without a name.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import Vector
from streams.dify.errors import RefusedError, VectorStoreError
from streams.dify.http import as_object
from streams.dify.vector_stores.http_client import shown
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
from streams.dify.vector_stores.weaviate_client import WeaviateClient, graphql

_NAME = re.compile(r"[A-Z][_0-9A-Za-z]{0,250}")
_VECTOR = "default"
_TEXTS = ("document_id", "doc_id", "doc_hash", "dataset_id", "annotation_id", "app_id")
_OWNERS = ("dataset_id", "app_id")
_PLACES = {"headings": str, "page": int, "part": int, "row": int, "sheet": str, "slide": int}
"""Where a text is in its file. The platform's own classes do not have these properties, and may refuse new ones."""
_DATA_TYPES = {int: "int", str: "text"}
_PER_REQUEST = 200
"""Objects in one request, and node ids in one condition."""
Condition = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Class:
    """A class as the server has it."""

    name: str
    properties: frozenset[str]
    is_named: bool
    """Whether its vector has a name."""

    def owner_is(self, owner_id: str) -> Condition:
        """Return the condition for the entries of a dataset, or of an app."""
        found = [_equal(name, owner_id) for name in _OWNERS if name in self.properties]
        return found[0] if len(found) == 1 else {"operator": "Or", "operands": found}

    def vector_of(self, vector: Vector) -> dict[str, object]:
        """Return the field of an object that has its vector."""
        return {"vectors": {_VECTOR: vector}} if self.is_named else {"vector": vector}

    def properties_of(self, entry: Entry | AnnotationEntry) -> dict[str, str | int]:
        """Return the text and the metadata. Of the place in the file, only what the class has."""
        places = {name: kind for name, kind in _PLACES.items() if name in self.properties}
        known = {
            name: value
            for name, value in entry.metadata.items()
            if name not in _PLACES or isinstance(value, places.get(name, ()))
        }
        return {"text": entry.content} | known

    @property
    def vector_field(self) -> str:
        return f"vectors{{{_VECTOR}}}" if self.is_named else "vector"


class WeaviateIndex:
    """One class per dataset. Writes are not part of the session's transaction."""

    kind = "weaviate"
    transactional = False
    shares_collections = False

    def __init__(self, url: str, api_key: SecretStr | None, timeout: float) -> None:
        """Keep the address. `timeout` is in seconds and must be shorter than a transaction's."""
        self._client = WeaviateClient(url, api_key, timeout)

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Create the class unless it exists. Concurrent calls wait for each other.

        An empty class is made anew: the server does not say which length it expects. Raises RefusedError for a class
        with vectors of another length.
        """
        if await self._length(collection) == dimensions:
            return
        await lock_collection(session, collection)
        found = await self._length(collection)
        if found == dimensions:
            return
        if found:
            raise wrong_length(found, dimensions)
        name = _class_name(collection)
        await self._client.request("DELETE", f"schema/{name}")
        properties = [
            {"name": "text", "dataType": ["text"], "tokenization": "word"},
            *({"name": one, "dataType": ["text"]} for one in _TEXTS),
            {"name": "chunk_index", "dataType": ["int"]},
            *({"name": name, "dataType": [_DATA_TYPES[kind]]} for name, kind in _PLACES.items()),
        ]
        vector = {_VECTOR: {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"}}
        await self._client.request("POST", "schema", {"class": name, "vectorConfig": vector, "properties": properties})

    async def upsert(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        entries: Sequence[Entry | AnnotationEntry],
    ) -> None:
        """Write entries. An entry with the same node id is replaced."""
        if not entries:
            return
        found = await self._class(collection)
        if found is None:
            raise deleted_meanwhile(collection)
        for start in range(0, len(entries), _PER_REQUEST):
            objects = [
                {
                    "class": found.name,
                    "id": entry.node_id,
                    "properties": found.properties_of(entry),
                    **found.vector_of(entry.vector),
                }
                for entry in entries[start : start + _PER_REQUEST]
            ]
            answers = await self._client.send("POST", "batch/objects", {"objects": objects})
            for answer in answers if isinstance(answers, list) else ():
                errors = as_object(as_object(as_object(answer).get("result")).get("errors")).get("error")
                if errors:
                    message = f"Weaviate rejects an object: {shown(json.dumps(errors))}"
                    raise VectorStoreError(message)

    async def delete_nodes(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        dataset_id: str,
        node_ids: Sequence[str],
    ) -> int:
        """Delete entries of a dataset by node id. Returns the number of deleted entries.

        The platform's own objects have other ids than their nodes, so the property counts.
        """
        found = await self._class(collection) if node_ids else None
        if found is None:
            return 0
        deleted = 0
        for start in range(0, len(node_ids), _PER_REQUEST):
            some = list(node_ids[start : start + _PER_REQUEST])
            nodes: Condition = {"path": ["doc_id"], "operator": "ContainsAny", "valueTextArray": some}
            deleted += await self._delete(found, found.owner_is(dataset_id), nodes)
        return deleted

    async def delete_document(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        dataset_id: str,
        document_id: str,
    ) -> int:
        """Delete every entry of a document of a dataset. Returns their number."""
        found = await self._class(collection)
        if found is None:
            return 0
        return await self._delete(found, found.owner_is(dataset_id), _equal("document_id", document_id))

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str, *, shared: bool) -> bool:
        """Delete a dataset's entries, and the class if it is its own or has no objects of others."""
        found = await self._class(collection)
        if found is None:
            return False
        if shared or await is_used_by_others(self, session, collection, dataset_id):
            return await self._delete(found, found.owner_is(dataset_id)) > 0
        await self._client.request("DELETE", f"schema/{found.name}")
        return True

    async def count(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        *,
        dataset_id: str | None = None,
        document_id: str | None = None,
    ) -> int:
        """Return the number of objects of the class, of a dataset, or of a document."""
        found = await self._class(collection)
        if found is None:
            return 0
        wanted = [
            *([found.owner_is(dataset_id)] if dataset_id else []),
            *([_equal("document_id", document_id)] if document_id else []),
        ]
        where = f"(where:{graphql(_all(wanted))})" if wanted else ""
        rows = await self._client.query("Aggregate", found.name, f"{where}{{meta{{count}}}}")
        count = as_object(rows[0].get("meta")).get("count") if rows else 0
        return count if isinstance(count, int) else 0

    async def search(self, session: AsyncSession, query: VectorQuery, k: int) -> list[Match]:  # noqa: ARG002 - the port's signature
        """Return the k nearest objects by cosine similarity, best first."""
        found = await self._class(query.collection)
        if found is None:
            return []
        check_length(await self._length_of(found), query.vector)
        near: dict[str, object] = {"vector": query.vector, **({"targetVectors": [_VECTOR]} if found.is_named else {})}
        rows = await self._client.query(
            "Get",
            found.name,
            f"(nearVector:{graphql(near)},limit:{k}){{text doc_id document_id _additional{{distance}}}}",
        )
        return [
            Match(
                str(row.get("doc_id")),
                str(row.get("document_id")),
                str(row.get("text")),
                1.0 - _number(as_object(row.get("_additional")).get("distance")),
            )
            for row in rows
        ]

    async def _class(self, collection: str) -> _Class | None:
        name = _class_name(collection)
        answer = await self._client.request("GET", f"schema/{name}")
        if not answer:
            return None
        properties = answer.get("properties")
        names = [as_object(one).get("name") for one in properties] if isinstance(properties, list) else []
        return _Class(name, frozenset(str(one) for one in names), _VECTOR in as_object(answer.get("vectorConfig")))

    async def _length(self, collection: str) -> int | None:
        """Return the length of the vectors of a class; 0: it is empty; None: there is no such class."""
        found = await self._class(collection)
        return None if found is None else await self._length_of(found)

    async def _length_of(self, found: _Class) -> int:
        rows = await self._client.query("Get", found.name, f"(limit:1){{_additional{{{found.vector_field}}}}}")
        extra = as_object(rows[0].get("_additional")) if rows else {}
        vector = as_object(extra.get("vectors")).get(_VECTOR) if found.is_named else extra.get("vector")
        return len(vector) if isinstance(vector, list) else 0

    async def _delete(self, found: _Class, *wanted: Condition) -> int:
        """Delete what fits all conditions. The server deletes a limited number with one request."""
        deleted = 0
        while True:
            match = {"class": found.name, "where": _all(wanted)}
            answer = await self._client.request("DELETE", "batch/objects", {"match": match, "output": "minimal"})
            results = as_object(answer.get("results"))
            if results.get("failed"):
                message = f"Weaviate has not deleted {results.get('failed')} objects"
                raise VectorStoreError(message)
            done = int(_number(results.get("successful")))
            deleted += done
            if not done or _number(results.get("matches")) < _number(results.get("limit")):
                return deleted


def _class_name(collection: str) -> str:
    """Return the name of a class: the server begins it with a capital letter. Raises RefusedError for another name."""
    name = collection[:1].upper() + collection[1:]
    if not _NAME.fullmatch(name):
        message = f"{shown(collection)!r} cannot be the name of a class of Weaviate"
        raise RefusedError(message)
    return name


def _equal(name: str, value: str) -> Condition:
    return {"path": [name], "operator": "Equal", "valueText": value}


def _all(wanted: Sequence[Condition]) -> Condition:
    return wanted[0] if len(wanted) == 1 else {"operator": "And", "operands": list(wanted)}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
