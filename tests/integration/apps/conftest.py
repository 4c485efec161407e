"""A tenant with an empty database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.support.platform.handler_runs import Site, open_site


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[Site]:
    """A tenant whose Redis is the stack's."""
    url = settings.database_url.get_secret_value()
    async with open_site(url, tmp_path / "files", redis_url=settings.redis_url) as opened:
        yield opened
