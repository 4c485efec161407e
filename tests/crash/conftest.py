"""The long scenarios run on the same stack, and with the same fixtures, as the integration tests."""

import pytest

pytest.register_assert_rewrite("tests.support.faults.accounting")

from tests.integration.conftest import (  # noqa: E402 - whose assertions are to be told in full
    database_url,
    engine,
    environment,
    make_topic,
    protocol,
    settings,
    stack,
    streams,
    template,
    topics,
    worker,
)

__all__ = [
    "database_url",
    "engine",
    "environment",
    "make_topic",
    "protocol",
    "settings",
    "stack",
    "streams",
    "template",
    "topics",
    "worker",
]


@pytest.fixture(scope="session")
def partitions() -> int:
    """Of each topic, so that several workers have some."""
    return 4
