"""Fixtures of the deletions: a site with its handlers' services, and a billing service that knows plans."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.integration.maintenance.retention_runs import Retention, billing_service, open_retention
from tests.support.fakes.json_api import JsonApi


@pytest.fixture
async def retention(settings: Settings, tmp_path: Path) -> AsyncIterator[Retention]:
    async with open_retention(settings, tmp_path / "files") as opened:
        yield opened


@pytest.fixture
def plans() -> dict[str, str]:
    return {}


@pytest.fixture
def billing(plans: dict[str, str]) -> Iterator[tuple[JsonApi, str]]:
    with billing_service(plans) as opened:
        yield opened
