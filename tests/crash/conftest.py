"""The long scenarios run on the same stack, and with the same fixtures, as the integration tests."""

import os
from collections.abc import Iterator

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
    """Of each topic, so that several workers have some."""
    return 4


@pytest.fixture(scope="session", autouse=True)
def kept() -> None:
    """These scenarios kill their servers, so they never run on kept ones. The processes do not see the settings."""
    for name in (MODE, FOLDER):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers as users have them, on a disk that PostgreSQL waits for."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
