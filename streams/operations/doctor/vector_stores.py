"""The checks of a vector store that is not in the database of the platform's tables."""

import asyncio
from collections.abc import Callable
from functools import partial

import httpx
from sqlalchemy.exc import SQLAlchemyError

from streams.database import sync_engine
from streams.dify.errors import BusyError, RefusedError, VectorStoreError
from streams.dify.vector_stores.elasticsearch import NAMES, elasticsearch_login
from streams.observability.error_text import message
from streams.operations.doctor.database import check_pgvector
from streams.operations.doctor.database_facts import read_server
from streams.operations.doctor.finding import Finding, ok
from streams.settings import PoolName, Settings

VECTOR_POOLS: frozenset[PoolName] = frozenset({"default", "low"})
"""The pools whose handlers read or write vectors."""


def examine_vector_store(settings: Settings) -> list[Finding]:
    """Ask the store of the settings, with its login. Nothing for pgvector in the database of the platform's tables."""
    if settings.vector_store == "pgvector":
        return _examine_vector_database(settings)
    examine = {
        "qdrant": examine_qdrant,
        "weaviate": examine_weaviate,
        "milvus": examine_milvus,
        "elasticsearch": examine_elasticsearch,
        "opensearch": examine_elasticsearch,
    }
    return [examine[settings.vector_store](settings)]


def vector_store_start_problems(settings: Settings) -> list[str]:
    """Return why a worker must not start: its vector store does not answer, or refuses the login. One line each.

    A worker whose pools have no work on vectors does not need the store.
    """
    if not VECTOR_POOLS.intersection(settings.pools):
        return []
    findings = [finding for finding in examine_vector_store(settings) if finding.stops_worker]
    return [f"{finding.subject}: {finding.text}: {finding.remedy}" for finding in findings]


def examine_qdrant(settings: Settings) -> Finding:
    """Ask Qdrant for its collections, which also checks the key."""
    headers = {"api-key": settings.qdrant_api_key.get_secret_value()} if settings.qdrant_api_key else {}
    url = f"{settings.qdrant_url.rstrip('/')}/collections"
    request = partial(httpx.get, url, headers=headers, timeout=settings.qdrant_timeout)
    return _examine_server("Qdrant", request, "STREAMS_QDRANT_URL and its key")


def examine_weaviate(settings: Settings) -> Finding:
    """Ask Weaviate for its version, which also checks the key."""
    key = settings.weaviate_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    url = f"{settings.weaviate_url.rstrip('/')}/v1/meta"
    request = partial(httpx.get, url, headers=headers, timeout=settings.weaviate_timeout)
    return _examine_server("Weaviate", request, "STREAMS_WEAVIATE_URL and its key")


def examine_elasticsearch(settings: Settings) -> Finding:
    """Ask Elasticsearch or OpenSearch for its version, which also checks the login."""
    name = NAMES["opensearch" if settings.vector_store == "opensearch" else "elasticsearch"]
    request = partial(
        httpx.get,
        settings.elasticsearch_url,
        auth=elasticsearch_login(settings),
        timeout=settings.elasticsearch_timeout,
    )
    return _examine_server(name, request, "STREAMS_ELASTICSEARCH_URL, _USER and _PASSWORD")


def examine_milvus(settings: Settings) -> Finding:
    """Ask Milvus for its collections, which also checks the login and the database."""
    try:
        from streams.dify.vector_stores.milvus import milvus_connection  # noqa: PLC0415 - only its users have the client
    except ImportError:
        text = "pymilvus is not installed"
        return Finding("Milvus", "fail", text, "install the extra `milvus`", stops_worker=True)
    try:
        asyncio.run(milvus_connection(settings).ping())
    except (BusyError, RefusedError, VectorStoreError) as error:
        return _away("Milvus", error, "STREAMS_MILVUS_URL and its login (STREAMS_MILVUS_…)")
    return ok("Milvus", "it answers")


def _examine_server(name: str, request: Callable[[], httpx.Response], wrong: str) -> Finding:
    try:
        request().raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _away(name, error, wrong)
    return ok(name, "it answers")


def _away(name: str, error: Exception, wrong: str) -> Finding:
    remedy = f"start it, or correct {wrong}"
    return Finding(name, "fail", message(error), remedy, stops_worker=True)


def _examine_vector_database(settings: Settings) -> list[Finding]:
    """Check the database of STREAMS_PGVECTOR_URL, if the vectors are there."""
    if settings.pgvector_url is None:
        return []
    engine = sync_engine(settings.model_copy(update={"database_url": settings.pgvector_url}))
    try:
        with engine.connect() as connection:
            return check_pgvector(read_server(connection))
    except SQLAlchemyError:
        remedy = "start the server, or correct the setting"
        text = "the database of STREAMS_PGVECTOR_URL does not answer"
        return [Finding("pgvector", "fail", text, remedy, stops_worker=True)]
    finally:
        engine.dispose()
