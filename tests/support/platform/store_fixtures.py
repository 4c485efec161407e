"""A fixture for tests of a site that must hold with each vector store. Import it into a test module."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from streams.dify.vector_stores.qdrant import QdrantIndex
from tests.support.platform.handler_runs import Site


@pytest.fixture(params=["pgvector", "qdrant"])
async def of_store(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> AsyncIterator[Site]:
    """The site, with each vector store."""
    if request.param == "pgvector":
        yield site
        return
    client = AsyncQdrantClient(path=str(tmp_path / "qdrant"))
    yield replace(site, platform=replace(site.platform, vectors=QdrantIndex(lambda: client)))
    await client.close()
