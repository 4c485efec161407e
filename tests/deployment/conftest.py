"""Fixtures of the deployment tests: the same stack and the same fixtures as the integration tests."""

from tests.integration.conftest import (
    breakable_stack,
    commands,
    database_url,
    engine,
    environment,
    kept,
    partitions,
    preloaded,
    protocol,
    settings,
    shared_stack,
    stack,
    template,
    topics,
    worker,
)

__all__ = [
    "breakable_stack",
    "commands",
    "database_url",
    "engine",
    "environment",
    "kept",
    "partitions",
    "preloaded",
    "protocol",
    "settings",
    "shared_stack",
    "stack",
    "template",
    "topics",
    "worker",
]
