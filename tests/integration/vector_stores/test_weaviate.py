"""Weaviate behind the port: the platform's layout, classes of its older versions, and a server that fails."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest
from pydantic import SecretStr

from streams.agents.knowledge.document_indexing import index_document
from streams.delivery import Permanent, Retry
from streams.dify.errors import RefusedError, VectorStoreError
from streams.dify.platform import build_platform
from streams.dify.vector_stores.port import Entry, VectorQuery
from streams.dify.vector_stores.weaviate import WeaviateIndex
from streams.operations.doctor.vector_stores import examine_weaviate
from streams.settings import Settings
from tests.support.fakes.vector_stores.weaviate_server import WeaviateServer, weaviate_server
from tests.support.platform.handler_runs import Site, open_site, prose

SECTION = "Embedding and loading"
TEXT = "Weaviate behind the same port, in the platform's layout; a server that fails or is gone"


@pytest.fixture
def server() -> Iterator[WeaviateServer]:
    with weaviate_server() as running:
        yield running


@pytest.fixture
async def site(database_url: str, tmp_path: Path, server: WeaviateServer) -> AsyncIterator[Site]:
    more = {"vector_store": "weaviate", "weaviate_url": server.url, "weaviate_api_key": server.key}
    async with open_site(database_url, tmp_path / "files", **more) as opened:
        yield opened


@pytest.mark.requirement(SECTION, TEXT)
async def test_the_class_is_the_platform_s(site: Site, server: WeaviateServer) -> None:
    """The vector has the name default. An object has its node's id and the platform's properties."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Everyone has thirty days of leave.")
    await site.run(index_document, site.request(document))
    (segment,) = await site.segments(document.id)
    made = server.classes[site.collection(dataset.id)]
    assert made.schema["vectorConfig"] == {"default": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"}}
    types = {item["name"]: item["dataType"] for item in made.schema["properties"]}
    assert {name: types[name] for name in ("text", "document_id", "doc_id", "chunk_index")} == {
        "text": ["text"],
        "document_id": ["text"],
        "doc_id": ["text"],
        "chunk_index": ["int"],
    }
    ((key, stored),) = made.objects.items()
    assert key == segment.index_node_id
    assert len(stored.pop("")) == 256
    assert stored == {
        "text": segment.content,
        "doc_id": segment.index_node_id,
        "doc_hash": segment.index_node_hash,
        "document_id": document.id,
        "dataset_id": dataset.id,
    }


@pytest.mark.requirement(SECTION, TEXT)
async def test_the_platform_s_own_objects_are_deleted_by_their_node(site: Site, server: WeaviateServer) -> None:
    """Their ids come from their texts. The class of an older version has one vector without a name."""
    dataset, node, document = str(uuid4()), str(uuid4()), str(uuid4())
    collection = site.collection(dataset)
    properties = [{"name": name, "dataType": ["text"]} for name in ("text", "document_id", "doc_id", "dataset_id")]
    server.answer("POST", "/v1/schema", {"class": collection, "vectorizer": "none", "properties": properties})
    values = {"text": "old", "document_id": document, "doc_id": node, "dataset_id": dataset}
    own = {"class": collection, "id": str(uuid5(NAMESPACE_URL, "old")), "properties": values, "vector": [1.0, 0.0]}
    server.answer("POST", "/v1/batch/objects", {"objects": [own]})
    index = site.platform.vectors
    async with site.transaction() as session:
        await index.create(session, collection, 2)
        new = Entry(str(uuid4()), "new", "hash", document, dataset, [0.0, 1.0])
        await index.upsert(session, collection, [new])
        first, second = await index.search(session, VectorQuery(collection, dataset, [1.0, 0.1]), 5)
        assert (first.node_id, first.content, second.content) == (node, "old", "new")
        assert await index.delete_nodes(session, collection, dataset, [node]) == 1
        assert await index.count(session, collection, dataset_id=dataset) == 1


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [(500, {}, VectorStoreError), (403, {}, Permanent), (429, {"Retry-After": "7"}, Retry)],
)
async def test_a_server_that_fails(
    site: Site, server: WeaviateServer, status: int, headers: dict[str, str], kind: type[Exception]
) -> None:
    """5xx is retried, 4xx is permanent, 429 waits as requested. Later the same request completes."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    server.failures.append((status, headers))
    with pytest.raises(kind, match=f"Weaviate answered {status}") as failure:
        await site.run(index_document, site.request(document))
    if isinstance(failure.value, Retry):
        assert failure.value.after == 7
    await site.run(index_document, site.request(document))
    assert await site.vectors(dataset.id) == 2


@pytest.mark.requirement(SECTION, TEXT)
async def test_a_server_that_is_gone(site: Site) -> None:
    gone = WeaviateIndex("http://127.0.0.1:9", SecretStr("hidden"), 5)
    other = replace(site, platform=replace(site.platform, vectors=gone))
    document = await site.add_document(await site.add_dataset(), prose(1))
    with pytest.raises(VectorStoreError, match=r"^Weaviate does not answer: ConnectError$"):
        await other.run(index_document, site.request(document))


async def test_a_name_is_never_a_query(site: Site) -> None:
    """The name of a class comes from a row or an event, and is a part of a query and of a path."""
    async with site.transaction() as session:
        for name in ("a}{b", "../schema", "x y", "", "1a", "A" * 300):
            with pytest.raises(RefusedError, match="cannot be the name of a class of Weaviate"):
                await site.platform.vectors.count(session, name)


def test_the_store_is_the_setting_s() -> None:
    assert build_platform(Settings(vector_store="weaviate")).vectors.kind == "weaviate"


def test_doctor_asks_the_server(server: WeaviateServer) -> None:
    """A wrong key is found, and so is a server that is not there."""
    settings = Settings.model_validate({"weaviate_url": server.url, "weaviate_api_key": server.key})
    assert examine_weaviate(settings).state == "ok"
    for wrong in ({"weaviate_api_key": SecretStr("no")}, {"weaviate_url": "http://127.0.0.1:9"}):
        assert examine_weaviate(settings.model_copy(update=wrong)).state == "fail"
