"""Fixtures for tests of a site that must hold with each vector store. Import them into a test module."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient

from streams.dify.vector_stores.elasticsearch import build_elasticsearch_index
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.dify.vector_stores.pgvector_database import vector_database
from streams.dify.vector_stores.port import Entry, VectorIndex
from streams.dify.vector_stores.qdrant import QdrantIndex
from streams.dify.vector_stores.weaviate import WeaviateIndex
from streams.settings import Settings
from tests.support.fakes.vector_stores.elasticsearch_server import ElasticsearchServer, elasticsearch_server
from tests.support.fakes.vector_stores.milvus_server import milvus_server
from tests.support.fakes.vector_stores.weaviate_server import weaviate_server
from tests.support.local_stack.databases import admin, admin_url
from tests.support.local_stack.stack import Stack
from tests.support.platform.handler_runs import Site

STORES = ("pgvector", "pgvector elsewhere", "qdrant", "weaviate", "milvus", "elasticsearch", "opensearch")
_WEAVIATE, _WEAVIATE_KEY = "STREAMS_TEST_WEAVIATE_URL", "STREAMS_TEST_WEAVIATE_KEY"
"""A real server to use in place of the one that speaks its protocol."""


def an_id() -> str:
    """Return a new id."""
    return str(uuid4())


def entry(dataset_id: str, vector: list[float], document_id: str | None = None, content: str = "text") -> Entry:
    """Return an entry of a new node."""
    return Entry(an_id(), content, "hash", document_id or an_id(), dataset_id, vector)


@pytest.fixture(params=["pgvector", "qdrant"])
async def of_store(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> AsyncIterator[Site]:
    """The site, with each kind of vector store: in the transaction, and outside of it."""
    if request.param == "pgvector":
        yield site
        return
    async with _qdrant(tmp_path) as index:
        yield replace(site, platform=replace(site.platform, vectors=index))


@pytest.fixture(params=STORES)
async def each_store(request: pytest.FixtureRequest, site: Site, stack: Stack, tmp_path: Path) -> AsyncIterator[Site]:
    """The site, with each vector store that there is."""
    async with _open(request.param, stack, tmp_path) as index:
        yield replace(site, platform=replace(site.platform, vectors=index))


@asynccontextmanager
async def _open(name: str, stack: Stack, folder: Path) -> AsyncIterator[VectorIndex]:
    if name == "pgvector":
        yield PgVectorIndex()
    elif name == "pgvector elsewhere":
        async with _pgvector_elsewhere(stack) as index:
            yield index
    elif name == "qdrant":
        async with _qdrant(folder) as index:
            yield index
    elif name == "milvus":
        with milvus_server(folder / "milvus") as uri:
            yield milvus_index(uri)
    elif name in {"elasticsearch", "opensearch"}:
        with elasticsearch_server("opensearch" if name == "opensearch" else "elasticsearch") as server:
            yield build_elasticsearch_index(elasticsearch_settings(server))
    elif url := os.environ.get(_WEAVIATE):
        yield WeaviateIndex(url, SecretStr(os.environ.get(_WEAVIATE_KEY, "")), 20.0)
    else:
        with weaviate_server() as server:
            yield WeaviateIndex(server.url, SecretStr(server.key), 20.0)


def milvus_index(uri: str, seconds: float = 20.0) -> VectorIndex:
    """Return the index on a server of milvus-lite, which has no HNSW."""
    from streams.dify.vector_stores.milvus import MilvusIndex  # noqa: PLC0415 - its client is not always installed
    from streams.dify.vector_stores.milvus_client import Layout, MilvusConnection, MilvusServer  # noqa: PLC0415

    return MilvusIndex(MilvusConnection(MilvusServer(uri), seconds), Layout(index_type="AUTOINDEX"))


def elasticsearch_settings(server: ElasticsearchServer) -> Settings:
    """Return the settings of a server."""
    return Settings(
        vector_store=server.product,
        elasticsearch_url=server.url,
        elasticsearch_user=server.user,
        elasticsearch_password=SecretStr(server.password),
    )


@asynccontextmanager
async def _qdrant(folder: Path) -> AsyncIterator[VectorIndex]:
    client = AsyncQdrantClient(path=str(folder / "qdrant"))
    yield QdrantIndex(lambda: client)
    await client.close()


@asynccontextmanager
async def _pgvector_elsewhere(stack: Stack) -> AsyncIterator[VectorIndex]:
    name = f"vectors_{uuid4().hex[:8]}"
    url = admin_url(stack, name)
    with admin(stack) as connection:
        connection.execute(f"create database {name} template template0")
        yield PgVectorIndex(vector_database(Settings.model_validate({"pgvector_url": url})))
        connection.execute(f"drop database {name} with (force)")
