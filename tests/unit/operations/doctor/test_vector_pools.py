"""Which pools need a vector store: a worker of the others starts without it."""

import inspect
import sys

import pytest

from streams.operations.doctor.vector_stores import VECTOR_POOLS, vector_store_start_problems
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.settings import POOL_NAMES, Settings

KNOWLEDGE = "streams.agents.knowledge."


def test_only_these_pools_have_handlers_of_vectors() -> None:
    """A handler of vectors is in a module of `agents` that names them, or in the package of knowledge."""
    settings = Settings()
    catalogue = build_catalogue(settings)
    found = {
        catalogue.of(handler.event).pool
        for handler in build_handlers(settings)
        if handler.function.__module__.startswith(KNOWLEDGE)
        or ".vectors" in inspect.getsource(sys.modules[handler.function.__module__])
    }
    assert found == VECTOR_POOLS


@pytest.mark.parametrize("pool", sorted(set(POOL_NAMES) - VECTOR_POOLS))
def test_another_pool_needs_no_store(pool: str) -> None:
    """No server answers at this address."""
    settings = Settings.model_validate({"vector_store": "qdrant", "qdrant_url": "http://127.0.0.1:9", "pools": pool})
    assert vector_store_start_problems(settings) == []
    assert vector_store_start_problems(settings.model_copy(update={"pools": ("default",)}))
