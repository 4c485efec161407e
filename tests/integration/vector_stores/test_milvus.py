"""Milvus behind the port: the platform's layout, its own rows, and a server that refuses or is gone."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

pytest.importorskip("pymilvus")

import grpc  # type: ignore[import-untyped]  # its stubs are not installed
from pymilvus import MilvusClient, MilvusException

from streams.agents.knowledge.document_indexing import index_document
from streams.delivery import Permanent
from streams.dify.errors import BusyError, RefusedError, VectorStoreError
from streams.dify.platform import build_platform
from streams.dify.vector_stores.milvus import MilvusIndex
from streams.dify.vector_stores.milvus_client import Layout, failure, schema_of
from streams.dify.vector_stores.port import Entry, VectorQuery, collection_name
from streams.operations.doctor.vector_stores import vector_store_start_problems
from streams.settings import Settings, SettingsError
from tests.support.fakes.vector_stores.milvus_server import milvus_server
from tests.support.platform.handler_runs import Site, open_site, prose
from tests.support.platform.store_fixtures import milvus_index

SECTION = "Embedding and loading"
TEXT = "Milvus behind the same port, in the platform's layout; a server that refuses the login or is gone"


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    with milvus_server(tmp_path / "milvus") as running:
        yield running


@pytest.fixture
async def site(database_url: str, tmp_path: Path, uri: str) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield replace(opened, platform=replace(opened.platform, vectors=milvus_index(uri)))


@contextmanager
def a_server_that_answers(status: grpc.StatusCode) -> Iterator[str]:
    """Answer every request with a status of gRPC, and yield the URI."""

    class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]  # the library has no types
        def service(self, _details: object) -> object:
            return grpc.unary_unary_rpc_method_handler(lambda _request, context: context.abort(status, "not you"))

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([Refusing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait(5)


@pytest.mark.requirement(SECTION, TEXT)
async def test_the_collection_is_the_platform_s(site: Site, uri: str) -> None:
    """The server gives the keys. The text, the metadata as JSON and the vector are fields."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Everyone has thirty days of leave.")
    await site.run(index_document, site.request(document))
    (segment,) = await site.segments(document.id)
    client = MilvusClient(uri=uri)
    collection = site.collection(dataset.id)
    found = client.describe_collection(collection)
    assert {one["name"]: one["type"].name for one in found["fields"]} == {
        "id": "INT64",
        "page_content": "VARCHAR",
        "metadata": "JSON",
        "vector": "FLOAT_VECTOR",
    }
    assert found["auto_id"]
    (row,) = client.query(collection, output_fields=["*"], filter="", limit=5)
    assert len(row["vector"]) == 256
    assert (row["page_content"], row["metadata"]) == (
        segment.content,
        {
            "doc_id": segment.index_node_id,
            "doc_hash": segment.index_node_hash,
            "document_id": document.id,
            "dataset_id": dataset.id,
        },
    )


@pytest.mark.requirement(SECTION, TEXT)
async def test_the_platform_s_own_rows_are_replaced_and_deleted(site: Site, uri: str) -> None:
    """The platform has written one entry twice. It is replaced by one row, and deleted by its node."""
    index, dataset, document, node = site.platform.vectors, str(uuid4()), str(uuid4()), str(uuid4())
    collection = collection_name("Vector_index", dataset)
    async with site.transaction() as session:
        await index.create(session, collection, 2)
        metadata = {"doc_id": node, "doc_hash": "h", "document_id": document, "dataset_id": dataset}
        row = {"page_content": "old", "vector": [1.0, 0.0], "metadata": metadata}
        MilvusClient(uri=uri).insert(collection, [row, row])
        assert await index.count(session, collection, document_id=document) == 2
        await index.upsert(session, collection, [Entry(node, "new", "hash", document, dataset, [1.0, 0.0])])
        (found,) = await index.search(session, VectorQuery(collection, dataset, [1.0, 0.0]), 5)
        assert (found.node_id, found.document_id, found.content) == (node, document, "new")
        assert await index.delete_nodes(session, collection, dataset, [node]) == 1


def test_new_collections_have_the_platform_s_index() -> None:
    """HNSW on the inner product; with the setting a second vector that the server makes of the text."""
    schema, indexes = (cast("MilvusClient", one) for one in schema_of(3, Layout()))
    (index,) = [one.to_dict() for one in indexes]
    assert (index["field_name"], index["index_type"], index["metric_type"]) == ("vector", "HNSW", "IP")
    assert (index["M"], index["efConstruction"]) == (8, 64)
    assert [one.name for one in schema.fields] == ["metadata", "page_content", "id", "vector"]
    schema, indexes = (cast("MilvusClient", one) for one in schema_of(3, Layout(full_text=True, analyzer="{}")))
    assert [one.to_dict()["field_name"] for one in indexes] == ["vector", "sparse_vector"]
    assert [one.name for one in schema.functions] == ["text_bm25_emb"]


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    ("status", "kind", "line"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, Permanent, "^Milvus refuses the login$"),
        (grpc.StatusCode.UNAVAILABLE, VectorStoreError, "^Milvus does not answer: UNAVAILABLE$"),
    ],
)
async def test_a_server_that_refuses(site: Site, status: grpc.StatusCode, kind: type[Exception], line: str) -> None:
    """A login that is refused is permanent. Afterwards the real server does the same work."""
    document = await site.add_document(await site.add_dataset(), prose(1))
    with a_server_that_answers(status) as refusing:
        other = replace(site, platform=replace(site.platform, vectors=milvus_index(refusing, 2)))
        with pytest.raises(kind, match=line):
            await other.run(index_document, site.request(document))
    await site.run(index_document, site.request(document))
    assert await site.vectors(document.dataset_id) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MilvusException(8, "rate limit exceeded"), BusyError),
        (MilvusException(1100, "length of varchar field exceeds max length"), RefusedError),
        (MilvusException(1401, "permission deny"), RefusedError),
        (MilvusException(2, "service\nunavailable"), VectorStoreError),
        (MilvusException(77, "wrong", is_input_error=True), RefusedError),
    ],
)
def test_what_the_codes_mean(error: MilvusException, kind: type[Exception]) -> None:
    found = failure(error)
    assert type(found) is kind
    assert "\n" not in str(found)


async def test_a_name_is_never_a_condition(site: Site) -> None:
    """Names and ids come from rows and events, and are parts of conditions."""
    index, name = site.platform.vectors, collection_name("Vector_index", str(uuid4()))
    async with site.transaction() as session:
        for collection in ("a b", "../x", "1a", "", "a" * 256, "a-b"):
            with pytest.raises(RefusedError, match="cannot be the name of a collection of Milvus"):
                await index.count(session, collection)
        for wrong in ('x" or id > 0 or "" == "', "a\\", "a\nb", ""):
            with pytest.raises(RefusedError, match="is not an id"):
                await index.delete_document(session, name, str(uuid4()), wrong)
            with pytest.raises(RefusedError, match="is not an id"):
                await index.delete_nodes(session, name, str(uuid4()), [wrong])


@pytest.mark.requirement(
    SECTION, "a vector store that does not answer or refuses the login stops the start, in one line"
)
def test_a_store_that_is_gone_stops_the_start(uri: str) -> None:
    """Milvus: it answers, it is gone, it refuses the login."""
    settings = Settings(vector_store="milvus", milvus_url=uri, milvus_timeout=2)
    assert isinstance(build_platform(settings).vectors, MilvusIndex)
    assert vector_store_start_problems(settings) == []
    remedy = "start it, or correct STREAMS_MILVUS_URL and its login (STREAMS_MILVUS_…)"
    gone = settings.model_copy(update={"milvus_url": "http://127.0.0.1:9"})
    assert vector_store_start_problems(gone) == [f"Milvus: Milvus does not answer: UNAVAILABLE: {remedy}"]
    with a_server_that_answers(grpc.StatusCode.UNAUTHENTICATED) as refusing:
        found = vector_store_start_problems(settings.model_copy(update={"milvus_url": refusing}))
    assert found == [f"Milvus: Milvus refuses the login: {remedy}"]


def test_without_the_client_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("streams.dify.vector_stores.milvus", "streams.dify.vector_stores.milvus_client"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pymilvus", None)
    with pytest.raises(SettingsError, match="install the extra `milvus`"):
        build_platform(Settings(vector_store="milvus"))
