"""The long scenarios run on the same stack, and with the same fixtures, as the integration tests."""

from tests.integration.conftest import (
    database_url,
    engine,
    environment,
    make_topic,
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
    "settings",
    "stack",
    "streams",
    "template",
    "topics",
    "worker",
]
