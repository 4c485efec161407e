"""Elasticsearch and OpenSearch behind the port: the platform's layout, its own entries, and a server that fails."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from streams.agents.knowledge.document_indexing import index_document
from streams.delivery import Permanent, Retry
from streams.dify.errors import RefusedError, VectorStoreError
from streams.dify.platform import build_platform
from streams.dify.vector_stores.elasticsearch import NAMES, Product, build_elasticsearch_index
from streams.dify.vector_stores.port import Entry, VectorQuery, collection_name
from streams.operations.doctor.vector_stores import vector_store_start_problems
from tests.support.fakes.vector_stores.elasticsearch_server import ElasticsearchServer, elasticsearch_server
from tests.support.platform.handler_runs import Site, open_site, prose
from tests.support.platform.store_fixtures import elasticsearch_settings

SECTION = "Embedding and loading"
TEXT = "Elasticsearch and OpenSearch behind the same port, in the platform's layout; a server that fails or is gone"
VECTORS: dict[Product, dict[str, Any]] = {
    "elasticsearch": {"type": "dense_vector", "dims": 256, "similarity": "cosine"},
    "opensearch": {
        "type": "knn_vector",
        "dimension": 256,
        "method": {
            "name": "hnsw",
            "space_type": "l2",
            "engine": "faiss",
            "parameters": {"ef_construction": 64, "m": 8},
        },
    },
}
"""The platform's fields of vectors."""


@pytest.fixture(params=NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[ElasticsearchServer]:
    with elasticsearch_server(request.param) as running:
        yield running


@pytest.fixture
async def site(database_url: str, tmp_path: Path, server: ElasticsearchServer) -> AsyncIterator[Site]:
    index = build_elasticsearch_index(elasticsearch_settings(server))
    async with open_site(database_url, tmp_path / "files") as opened:
        yield replace(opened, platform=replace(opened.platform, vectors=index))


@pytest.mark.requirement(SECTION, TEXT)
async def test_the_index_is_the_platform_s(site: Site, server: ElasticsearchServer) -> None:
    """Its name is in lower case. An entry has its node's id, the text, the vector and the metadata."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Everyone has thirty days of leave.")
    await site.run(index_document, site.request(document))
    (segment,) = await site.segments(document.id)
    ((name, made),) = server.indexes.items()
    assert name == site.collection(dataset.id).lower()
    assert made.fields["vector"] == VECTORS[server.product]
    assert made.fields["page_content"] == {"type": "text"}
    assert made.fields["metadata"]["properties"]["doc_id"] == {"type": "keyword"}
    ((key, stored),) = made.visible.items()
    assert key == segment.index_node_id
    assert len(stored["vector"]) == 256
    assert (stored["page_content"], stored["metadata"]) == (
        segment.content,
        {
            "doc_id": segment.index_node_id,
            "doc_hash": segment.index_node_hash,
            "document_id": document.id,
            "dataset_id": dataset.id,
        },
    )


@pytest.mark.requirement(SECTION, TEXT)
async def test_the_platform_s_own_index_is_used(site: Site, server: ElasticsearchServer) -> None:
    """The server has chosen the types of its fields. In OpenSearch its entries have other ids than their nodes."""
    index, dataset, document, node = site.platform.vectors, str(uuid4()), str(uuid4()), str(uuid4())
    collection = collection_name("Vector_index", dataset)
    async with site.transaction() as session:
        await index.create(session, collection, 2)
        made = server.indexes[collection.lower()]
        made.fields["metadata"]["properties"] = {"doc_id": {"type": "keyword"}}
        assert await index.delete_document(session, collection, dataset, document) == 0
        old = Entry(node, "old", "hash", document, dataset, [1.0, 0.0])
        await index.upsert(session, collection, [old])
        if server.product == "opensearch":
            made.documents[uuid4().hex] = made.documents.pop(node)
            made.visible = dict(made.documents)
        assert made.fields["metadata"]["properties"]["dataset_id"]["type"] == "text"
        await index.upsert(session, collection, [replace(old, content="new")])
        (found,) = await index.search(session, VectorQuery(collection, dataset, [1.0, 0.0]), 5)
        assert (found.node_id, found.document_id, found.content) == (node, document, "new")
        other = Entry(str(uuid4()), "other", "hash", document, str(uuid4()), [1.0, 0.0])
        await index.upsert(session, collection, [other])
        assert await index.delete_document(session, collection, dataset, document) == 1
        assert await index.count(session, collection) == 1


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [(503, {}, VectorStoreError), (403, {}, Permanent), (429, {"Retry-After": "7"}, Retry)],
)
async def test_a_server_that_fails(
    site: Site, server: ElasticsearchServer, status: int, headers: dict[str, str], kind: type[Exception]
) -> None:
    """5xx is retried, 4xx is permanent, 429 waits as requested. Later the same request completes."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    server.failures.append((status, headers))
    with pytest.raises(kind, match=f"{NAMES[server.product]} answered {status}") as failure:
        await site.run(index_document, site.request(document))
    if isinstance(failure.value, Retry):
        assert failure.value.after == 7
    await site.run(index_document, site.request(document))
    assert await site.vectors(dataset.id) == 2


async def test_an_entry_that_the_server_rejects(site: Site) -> None:
    """The answer to the whole request is 200. The error of the entry counts."""
    index, dataset = site.platform.vectors, str(uuid4())
    collection = collection_name("Vector_index", dataset)
    entries = [Entry(str(uuid4()), "text", "hash", str(uuid4()), dataset, [1.0] * length) for length in (2, 3)]
    async with site.transaction() as session:
        await index.create(session, collection, 2)
        with pytest.raises(RefusedError, match=r"rejects an entry: .*document_parsing_exception"):
            await index.upsert(session, collection, entries)


async def test_a_name_is_never_a_path(site: Site) -> None:
    """The name of an index comes from a row or an event, and is a part of a path."""
    async with site.transaction() as session:
        for name in ("a/_all", "*", "../x", "a b", "", "_all", "a,b", "A" * 300, "a?b"):
            with pytest.raises(RefusedError, match="cannot be the name of an index"):
                await site.platform.vectors.count(session, name)


@pytest.mark.requirement(
    SECTION, "a vector store that does not answer or refuses the login stops the start, in one line"
)
def test_a_store_that_is_gone_stops_the_start(server: ElasticsearchServer) -> None:
    """It answers, it refuses the password, it is gone."""
    settings = elasticsearch_settings(server)
    assert build_platform(settings).vectors.kind == server.product
    assert vector_store_start_problems(settings) == []
    for wrong in ({"elasticsearch_password": SecretStr("secret")}, {"elasticsearch_url": "http://127.0.0.1:9"}):
        (line,) = vector_store_start_problems(settings.model_copy(update=wrong))
        assert line.startswith(f"{NAMES[server.product]}: ")
        assert line.endswith("start it, or correct STREAMS_ELASTICSEARCH_URL, _USER and _PASSWORD")
        assert "\n" not in line
        assert "secret" not in line
        assert vector_store_start_problems(settings.model_copy(update={**wrong, "pools": ("high",)})) == []
