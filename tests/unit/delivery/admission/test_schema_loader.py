"""All callers that wait for one schema share one request to the registry, and none waits forever."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from schemas.registry import RegistryUnavailableError
from streams.delivery.admission import schema_loader
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.schema_loader import REGISTRY, SchemaLoader
from streams.schema_registry.clients import SchemaNotFetchedError


class Registry:
    """A registry that answers once `answer` is set, after it has raised the given errors."""

    def __init__(self, *errors: Exception) -> None:
        self.answer = threading.Event()
        self.asked = 0
        self.known = False
        self._errors = list(errors)

    def decode(self) -> str:
        """Decode something that needs the schema."""
        if not self.known:
            raise SchemaNotFetchedError(7, self._fetch)
        return "event"

    def _fetch(self) -> None:
        self.asked += 1
        assert self.answer.wait(5)
        if self._errors:
            raise self._errors.pop(0)
        self.known = True


@pytest.fixture
def crashes() -> list[BaseException]:
    return []


@pytest.fixture
async def schemas(crashes: list[BaseException]) -> SchemaLoader:
    return SchemaLoader(BreakerRegistry([REGISTRY]), crashes.append)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is asked for has no event of its own
            await asyncio.sleep(0)


async def test_all_callers_for_one_schema_share_one_request(schemas: SchemaLoader) -> None:
    registry = Registry()
    waiting = [asyncio.create_task(schemas.decode_when_loaded(registry.decode)) for _ in range(3)]
    await until(lambda: registry.asked)
    assert not any(task.done() for task in waiting)
    registry.answer.set()
    assert await asyncio.gather(*waiting) == ["event"] * 3
    assert registry.asked == 1
    assert await schemas.decode_when_loaded(registry.decode) == "event"


async def test_a_cancelled_caller_does_not_cancel_the_request_of_the_others(schemas: SchemaLoader) -> None:
    registry = Registry()
    leaving, staying = (asyncio.create_task(schemas.decode_when_loaded(registry.decode)) for _ in range(2))
    await until(lambda: registry.asked)
    leaving.cancel()
    await asyncio.wait([leaving])
    registry.answer.set()
    assert await staying == "event"
    assert (leaving.cancelled(), registry.asked) == (True, 1)


async def test_a_registry_that_does_not_answer_is_asked_again(
    schemas: SchemaLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_loader, "FIRST_PAUSE", 0.0)
    registry = Registry(RegistryUnavailableError("refused"))
    registry.answer.set()
    assert await schemas.decode_when_loaded(registry.decode) == "event"
    assert registry.asked == 2


async def test_an_unexpected_error_reaches_all_callers_and_ends_the_process(
    schemas: SchemaLoader, crashes: list[BaseException]
) -> None:
    error = RuntimeError("a mistake")
    registry = Registry(error)
    registry.answer.set()
    with pytest.raises(RuntimeError, match="a mistake"):
        await schemas.decode_when_loaded(registry.decode)
    assert crashes == [error]
    schemas.fetch_in_background(SchemaNotFetchedError(7, registry._fetch), lambda: crashes.append(KeyError("resumed")))
    await until(lambda: len(crashes) == 2)


async def test_close_cancels_the_callers(schemas: SchemaLoader, crashes: list[BaseException]) -> None:
    registry = Registry()
    waiting = asyncio.create_task(schemas.decode_when_loaded(registry.decode))
    await until(lambda: registry.asked)
    schemas.close()
    await asyncio.wait([waiting])
    registry.answer.set()
    assert waiting.cancelled()
    assert crashes == []
