"""Requests to Milvus by its own client, in threads. What its errors mean is decided here.

The client comes with the extra `milvus`. It takes a second to import, and loads pandas.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from grpc import RpcError, StatusCode  # type: ignore[import-untyped]  # its stubs are not installed
from pydantic import SecretStr
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

from streams.dify.embedding.port import Vector
from streams.dify.errors import BusyError, RefusedError, VectorStoreError
from streams.dify.http import JSONObject, as_object
from streams.dify.vector_stores.http_client import shown

_NOT_FOUND = 100
_RATE_LIMIT = 8
_REFUSED = frozenset({1100, 1101, 1102, 1400, 1401, 1402})
"""The server's codes of a wrong request and of a missing right."""
_LOGIN = frozenset({StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED})
_BUSY_SECONDS = 10.0
_MAX_BYTES = 65_535
"""The platform's limit for the text of an entry."""
Answer = TypeVar("Answer")

for _name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
    # The client writes each error to stderr with its traceback, in its own format. The errors are raised as well.
    logging.getLogger(_name).handlers.clear()
    logging.getLogger(_name).setLevel(logging.CRITICAL)
    logging.getLogger(_name).propagate = True


@dataclass(frozen=True, slots=True)
class MilvusServer:
    """The address of a server, and the login. A token comes before a user."""

    uri: str
    token: SecretStr | None = None
    user: str = ""
    password: SecretStr | None = None
    database: str = ""
    """Empty: the server's default."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How collections are created."""

    index_type: str = "HNSW"
    """The index of the vectors. The embedded server of the tests has no HNSW."""
    full_text: bool = False
    """Whether the server makes a second, sparse vector of the text for its full-text search."""
    analyzer: str | None = None
    """JSON: how the full-text search takes a text apart; None: the server's standard."""


class MilvusConnection:
    """The connection to one server. It is opened by the first request and serves all event loops.

    Each method raises BusyError, RefusedError and VectorStoreError. None: there is no such collection.
    """

    def __init__(self, server: MilvusServer, timeout: float) -> None:
        """Keep the address. `timeout` is in seconds, for one request."""
        self._server = server
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: MilvusClient | None = None

    async def ping(self) -> None:
        """Ask for the collections, which also checks the login and the database."""
        await self._run(lambda client: client.list_collections(timeout=self._timeout))

    async def length(self, collection: str) -> int | None:
        """Return the length of the collection's vectors; 0 if it has no field of vectors with the platform's name."""
        answer = await self._run(lambda client: client.describe_collection(collection, timeout=self._timeout))
        if answer is None:
            return None
        sizes = (as_object(one.get("params")).get("dim") for one in answer["fields"] if one.get("name") == "vector")
        return int(cast("int", next(sizes, 0)))

    async def create(self, collection: str, dimensions: int, layout: Layout) -> None:
        """Create the collection with its indexes, and load it."""
        schema, indexes = schema_of(dimensions, layout)
        await self._run(
            lambda client: client.create_collection(
                collection, schema=schema, index_params=indexes, consistency_level="Session", timeout=self._timeout
            )
        )

    async def drop(self, collection: str) -> None:
        """Drop the collection if it exists."""
        await self._run(lambda client: client.drop_collection(collection, timeout=self._timeout))

    async def insert(self, collection: str, rows: Sequence[JSONObject]) -> int | None:
        """Insert rows. Returns their number."""
        answer = await self._run(lambda client: client.insert(collection, list(rows), timeout=self._timeout))
        return None if answer is None else len(rows)

    async def keys(self, collection: str, condition: str) -> list[int] | None:
        """Return the primary keys of the rows that fit a condition, as they are after all earlier writes."""
        rows = await self._query(collection, condition, "id")
        return None if rows is None else [int(cast("int", row["id"])) for row in rows]

    async def count(self, collection: str, condition: str) -> int | None:
        """Return the number of rows that fit a condition, as they are after all earlier writes. Empty: all rows."""
        rows = await self._query(collection, condition, "count(*)")
        return None if rows is None else int(cast("int", rows[0]["count(*)"]))

    async def delete(self, collection: str, condition: str) -> None:
        """Delete the rows that fit a condition."""
        await self._run(lambda client: client.delete(collection, filter=condition, timeout=self._timeout))

    async def search(self, collection: str, vector: Vector, limit: int) -> list[JSONObject] | None:
        """Return the nearest rows: `distance` and `entity` of each."""
        answer = await self._run(
            lambda client: client.search(
                collection,
                data=[vector],
                anns_field="vector",
                limit=limit,
                output_fields=["page_content", "metadata"],
                consistency_level="Strong",
                timeout=self._timeout,
            )
        )
        return None if answer is None else [{"distance": hit["distance"], **hit["entity"]} for hit in answer[0]]

    async def _query(self, collection: str, condition: str, field: str) -> list[JSONObject] | None:
        answer = await self._run(
            lambda client: client.query(
                collection,
                filter=condition,
                output_fields=[field],
                consistency_level="Strong",
                timeout=self._timeout,
            )
        )
        return None if answer is None else [dict(row) for row in answer]

    async def _run(self, request: Callable[[MilvusClient], Answer]) -> Answer | None:
        try:
            return await asyncio.to_thread(lambda: request(self._connected()))
        except (MilvusException, RpcError) as error:
            if isinstance(error, MilvusException) and error.code == _NOT_FOUND:
                return None
            raise failure(error) from error

    def _connected(self) -> MilvusClient:
        with self._lock:
            if self._client is None:
                server = self._server
                login = (
                    {"token": server.token.get_secret_value()}
                    if server.token
                    else {
                        "user": server.user,
                        "password": server.password.get_secret_value() if server.password else "",
                    }
                )
                self._client = MilvusClient(
                    uri=server.uri, db_name=server.database, timeout=self._timeout, dedicated=True, **login
                )
            return self._client


def schema_of(dimensions: int, layout: Layout) -> tuple[object, object]:
    """Return the fields of a collection and its indexes, as the client takes them."""
    schema = MilvusClient.create_schema(auto_id=True, enable_dynamic_field=False)
    text: dict[str, object] = {"max_length": _MAX_BYTES, "enable_analyzer": layout.full_text}
    if layout.full_text and layout.analyzer:
        text["analyzer_params"] = layout.analyzer
    schema.add_field("metadata", DataType.JSON)
    schema.add_field("page_content", DataType.VARCHAR, **text)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
    indexes = MilvusClient.prepare_index_params()
    # The vectors have the length one, so the inner product is the cosine.
    graph = {"M": 8, "efConstruction": 64} if layout.index_type == "HNSW" else {}
    indexes.add_index("vector", index_type=layout.index_type, metric_type="IP", params=graph)
    if layout.full_text:
        schema.add_field("sparse_vector", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(
            Function(
                name="text_bm25_emb",
                input_field_names=["page_content"],
                output_field_names=["sparse_vector"],
                function_type=FunctionType.BM25,
            )
        )
        indexes.add_index("sparse_vector", index_type="AUTOINDEX", metric_type="BM25")
    return schema, indexes


def failure(error: Exception) -> Exception:
    """Return the error of the port for an error of the client."""
    status = _status(error)
    if status in _LOGIN:
        return RefusedError("Milvus refuses the login")
    if status is not None:
        return VectorStoreError(f"Milvus does not answer: {status.name}")
    code = getattr(error, "code", None)
    text = shown(str(getattr(error, "message", error)))
    if code == _RATE_LIMIT:
        return BusyError(f"Milvus is busy: {text}", _BUSY_SECONDS)
    message = f"Milvus answered {code}: {text}"
    is_refused = code in _REFUSED or getattr(error, "is_input_error", False)
    return RefusedError(message) if is_refused else VectorStoreError(message)


def _status(error: Exception) -> StatusCode | None:
    """Return the status of gRPC in an error or in its cause; None: the server has answered."""
    for one in (error, error.__cause__):
        code = one.code() if isinstance(one, RpcError) else getattr(one, "code", None)
        if isinstance(code, StatusCode):
            return code
    return None
