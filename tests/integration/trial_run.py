"""Fixtures for tests that drive trial events through real workers; import them into a test module."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from streams.declared import build_catalogue
from streams.schema_export import export
from streams.settings import Settings
from tests.integration.apps import trials

PACKAGE = trials.__name__


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The test's settings, with the trial events known to every process."""
    registry = tmp_path / "registry"
    export(build_catalogue(Settings(handlers=(PACKAGE,))), registry)
    return {
        **environment,
        "STREAMS_HANDLERS": PACKAGE,
        "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
        "STREAMS_LEASE_SECONDS": "3s",
        "STREAMS_SWEEP_INTERVAL": "1s",
    }


@pytest.fixture
def trial(topics: Settings, engine: Engine) -> Settings:
    """Topics and the effects' table exist."""
    with engine.begin() as connection:
        connection.execute(text(trials.TABLE))
    return topics
