"""The Milvus index in the platform's layout: the fields id, page_content, metadata (JSON) and vector."""

import json
import re
from collections.abc import Sequence
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import RefusedError
from streams.dify.http import as_object
from streams.dify.vector_stores.milvus_client import Layout, MilvusConnection, MilvusServer
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

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PER_REQUEST = 200
"""Rows in one request, and node ids in one condition."""


class MilvusIndex:
    """One collection per dataset. Writes are not part of the session's transaction."""

    kind = "milvus"
    transactional = False
    shares_collections = False

    def __init__(self, connection: MilvusConnection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Create the collection unless it exists. Concurrent calls wait for each other.

        An empty collection for vectors of another length is made anew. Raises RefusedError if it is not empty.
        """
        name = _checked(collection)
        if await self._connection.length(name) == dimensions:
            return
        await lock_collection(session, collection)
        found = await self._connection.length(name)
        if found == dimensions:
            return
        if found is not None:
            if await self._connection.count(name, ""):
                raise wrong_length(found, dimensions)
            await self._connection.drop(name)
        await self._connection.create(name, dimensions, self._layout)

    async def upsert(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        entries: Sequence[Entry | AnnotationEntry],
    ) -> None:
        """Write entries. An entry with the same node id is replaced.

        The server gives each row its primary key, as on the platform. So the new rows are inserted first, and the old
        ones are deleted then: an entry is never missing.
        """
        name = _checked(collection)
        for start in range(0, len(entries), _PER_REQUEST):
            some = entries[start : start + _PER_REQUEST]
            old = await self._connection.keys(name, _nodes_are([entry.node_id for entry in some]))
            rows: list[dict[str, object]] = [
                {"page_content": entry.content, "vector": entry.vector, "metadata": entry.metadata} for entry in some
            ]
            if old is None or await self._connection.insert(name, rows) is None:
                raise deleted_meanwhile(collection)
            if old:
                await self._connection.delete(name, f"id in {old}")

    async def delete_nodes(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        dataset_id: str,
        node_ids: Sequence[str],
    ) -> int:
        """Delete entries of a dataset by node id. Returns the number of deleted entries."""
        deleted = 0
        for start in range(0, len(node_ids), _PER_REQUEST):
            some = node_ids[start : start + _PER_REQUEST]
            deleted += await self._delete(collection, _owner_is(dataset_id), _nodes_are(some))
        return deleted

    async def delete_document(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        dataset_id: str,
        document_id: str,
    ) -> int:
        """Delete every entry of a document of a dataset. Returns their number."""
        return await self._delete(collection, _owner_is(dataset_id), _equals("document_id", document_id))

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str, *, shared: bool) -> bool:
        """Delete a dataset's entries, and the collection if it is its own or has no rows of others."""
        name = _checked(collection)
        if await self._connection.length(name) is None:
            return False
        if shared or await is_used_by_others(self, session, collection, dataset_id):
            return await self._delete(collection, _owner_is(dataset_id)) > 0
        await self._connection.drop(name)
        return True

    async def count(
        self,
        session: AsyncSession,  # noqa: ARG002 - the port's signature
        collection: str,
        *,
        dataset_id: str | None = None,
        document_id: str | None = None,
    ) -> int:
        """Return the number of rows of the collection, of a dataset, or of a document."""
        wanted = [
            *([_owner_is(dataset_id)] if dataset_id else []),
            *([_equals("document_id", document_id)] if document_id else []),
        ]
        return await self._connection.count(_checked(collection), " and ".join(wanted)) or 0

    async def search(self, session: AsyncSession, query: VectorQuery, k: int) -> list[Match]:  # noqa: ARG002 - the port's signature
        """Return the k nearest rows by cosine similarity, best first."""
        name = _checked(query.collection)
        length = await self._connection.length(name)
        if length is None:
            return []
        check_length(length, query.vector)
        rows = await self._connection.search(name, query.vector, k)
        return [
            Match(
                str(as_object(row.get("metadata")).get("doc_id")),
                str(as_object(row.get("metadata")).get("document_id")),
                str(row.get("page_content")),
                float(cast("float", row["distance"])),
            )
            for row in rows or ()
        ]

    async def _delete(self, collection: str, *wanted: str) -> int:
        name, condition = _checked(collection), " and ".join(wanted)
        found = await self._connection.count(name, condition)
        if found:
            await self._connection.delete(name, condition)
        return found or 0


def build_milvus_index(settings: Settings) -> MilvusIndex:
    """Return the index of the server of the settings."""
    layout = Layout(full_text=settings.milvus_full_text, analyzer=settings.milvus_analyzer)
    return MilvusIndex(milvus_connection(settings), layout)


def milvus_connection(settings: Settings) -> MilvusConnection:
    """Return the connection of the settings. Nothing is opened before the first request."""
    server = MilvusServer(
        settings.milvus_url,
        settings.milvus_token,
        settings.milvus_user,
        settings.milvus_password,
        settings.milvus_database,
    )
    return MilvusConnection(server, settings.milvus_timeout)


def _checked(collection: str) -> str:
    """Return the name. Raises RefusedError if a collection cannot have it: it comes from a row or an event."""
    if not _NAME.fullmatch(collection):
        message = f"{collection[:300]!r} cannot be the name of a collection of Milvus"
        raise RefusedError(message)
    return collection


def _equals(name: str, value: str) -> str:
    return f'metadata["{name}"] == {_quoted(value)}'


def _nodes_are(node_ids: Sequence[str]) -> str:
    return f'metadata["doc_id"] in [{", ".join(map(_quoted, node_ids))}]'


def _owner_is(owner_id: str) -> str:
    """Return the condition for the entries of a dataset, or of an app."""
    return f"({_equals('dataset_id', owner_id)} or {_equals('app_id', owner_id)})"


def _quoted(value: str) -> str:
    """Return an id as a text of a condition. Raises RefusedError for what could end the text."""
    if not _ID.fullmatch(value):
        message = f"{value[:300]!r} is not an id"
        raise RefusedError(message)
    return json.dumps(value)
