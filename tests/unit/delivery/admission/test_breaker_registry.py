"""Which breakers the runs of a handler open and close."""

from collections.abc import AsyncIterator

import pytest

from streams.delivery.admission.breaker_registry import UNDECLARED_LIMIT, BreakerRegistry
from streams.delivery.admission.circuit_breaker import FAILURES_UNTIL_OPEN
from streams.delivery.errors import Unavailable
from tests.support.factories import a_handler

MAILING = a_handler("send-mail")
"""It declares no dependency."""


@pytest.fixture
async def breakers() -> AsyncIterator[BreakerRegistry]:
    made = BreakerRegistry([])
    yield made
    made.close()


@pytest.mark.requirement("Faults of others", "R18: a success closes the breaker of a dependency that is not declared")
async def test_a_success_closes_what_the_handler_has_reported(breakers: BreakerRegistry) -> None:
    """While it is open, the handler waits for its probe as if it had declared the dependency. Others do not."""
    error = Unavailable("mail", "refused")
    for _ in range(FAILURES_UNTIL_OPEN):
        assert breakers.retry_delay(error) is None
        breakers.failed(error, MAILING)
    assert breakers.any_open
    assert breakers.blocking_dependency(MAILING) == "mail"
    assert breakers.needs_probe(MAILING)
    assert breakers.blocking_dependency(a_handler()) is None
    assert breakers.retry_delay(error) is not None
    breakers.succeeded(a_handler())
    assert breakers.any_open, "another handler says nothing about the dependency"
    breakers.succeeded(MAILING)
    assert not breakers.any_open
    for _ in range(3):
        breakers.failed(error, MAILING)
        breakers.succeeded(MAILING)
    assert breakers.retry_delay(error) is None, "a single failure among successes counts as an attempt"


@pytest.mark.requirement("Faults of others", "R18: a dependency whose name is made from data opens no breakers")
async def test_a_handler_cannot_open_any_number_of_breakers(breakers: BreakerRegistry) -> None:
    for number in range(UNDECLARED_LIMIT + 5):
        for _ in range(FAILURES_UNTIL_OPEN):
            breakers.failed(Unavailable(f"host-{number}", "refused"), MAILING)
    assert len(breakers.all) == UNDECLARED_LIMIT
    assert breakers.retry_delay(Unavailable("host-12", "refused")) is None


async def test_a_declared_dependency_is_not_learned_again(breakers: BreakerRegistry) -> None:
    handler = a_handler(needs=("mail",))
    breakers.failed(Unavailable("mail", "refused"), handler)
    assert breakers.needs(handler) == ("mail",)
