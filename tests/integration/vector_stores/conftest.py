"""The site of the tests that every vector store passes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.platform.handler_runs import Site, open_site
from tests.support.platform.store_fixtures import each_store

__all__ = ["each_store"]


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Yield a site with the vectors in its own database."""
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened
