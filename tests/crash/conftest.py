"""Fixtures of the crash tests: the same stack and the same fixtures as the integration tests."""

import os
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.support.faults.assertions")

from tests.integration.conftest import (  # noqa: E402 - after the rewrite of assertions is registered
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
from tests.support.local_stack.stack import FOLDER, MODE, Stack, running_stack  # noqa: E402 - as above

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
    """The number of partitions of each topic: several workers share them."""
    return 4


@pytest.fixture(scope="session", autouse=True)
def kept() -> None:
    """Remove the settings of a kept stack: these tests kill their servers, so they start their own."""
    for name in (MODE, FOLDER):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start servers as users do, with a PostgreSQL that waits for its disk."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
