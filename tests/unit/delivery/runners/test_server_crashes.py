"""Deliveries on a server that crashes: an event that crashes it, and those that only run beside it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streams.database.ledger_errors import mark
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.database_gate import LOST_RUNS, RUNS_LOST_TOGETHER, DatabaseGate
from streams.delivery.delivery import Delivery
from streams.delivery.execution.attempt import AttemptContext, Availability
from streams.delivery.runners.transactional import TransactionalRunner, _Done
from streams.delivery.settlement.settlement import Settlement
from streams.delivery.settlement.settling import Attempt
from streams.delivery.telemetry import Telemetry
from tests.support.factories import CATALOGUE, a_delivery

ENGINE = create_async_engine("postgresql+psycopg://nowhere.invalid/none")
"""Never connected: these tests do not use the database."""
SECTION = "Faults of others"


def named(name: str) -> Delivery:
    """Return a delivery whose record needs no acknowledgement."""
    made = a_delivery(name)
    made.pending = None
    return made


class Server(DatabaseGate):
    """A server whose transactions all end with a crash, and its gate."""

    def __init__(self, *, is_back_at_once: bool = False) -> None:
        super().__init__(ENGINE)
        self._is_back_at_once = is_back_at_once
        """Whether it answers again before the gate asks it. Then no outage is confirmed."""
        self.running: set[asyncio.Future[None]] = set()
        self.crashes = 0
        self.seconds = 0.03
        """How long a transaction of a healthy delivery takes."""

    def crash(self) -> None:
        self.crashes += 1
        for transaction in self.running:
            if not transaction.done():
                error = DBAPIError("select 1", {}, errors.CrashShutdown(), connection_invalidated=True)
                mark(error)
                transaction.set_exception(error)

    async def confirm(self, error: BaseException) -> bool:
        assert isinstance(error, DBAPIError)
        await asyncio.sleep(0.001)
        return not self._is_back_at_once


class Runner(TransactionalRunner):
    """A runner of one pool. A delivery of `poison` crashes the server; others need more time than that."""

    def __init__(self, server: Server) -> None:
        context = SimpleNamespace(spans=None, database=SimpleNamespace(effects=ENGINE, traced_effects=ENGINE))
        settlement = SimpleNamespace(failed=self._record_failure)
        availability = Availability(server, BreakerRegistry([]))
        super().__init__(
            cast("AttemptContext", context),
            cast("Settlement", settlement),
            Telemetry("unit", CATALOGUE, ()),
            availability,
        )
        self._server = server
        self.failed: list[bytes | None] = []
        self.done: list[bytes | None] = []

    async def until_settled(self, delivery: Delivery) -> None:
        """Run it as the scheduler does: again after each outage."""
        left: Sequence[Delivery] | None = [delivery]
        while left:
            left = await self.run(left)

    async def _transaction(self, deliveries: list[Delivery], engine: AsyncEngine) -> _Done | None:
        (delivery,) = deliveries
        assert engine is ENGINE
        lost = asyncio.get_running_loop().create_future()
        self._server.running.add(lost)
        try:
            if delivery.record.key == b"poison":
                await asyncio.sleep(0.01)
                self._server.crash()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._server.seconds):
                    await lost
        finally:
            self._server.running.discard(lost)
        self.done.append(delivery.record.key)
        return deliveries, 0.0, 0.0, 0.0, 0.0

    async def _record_failure(self, attempt: Attempt, _error: Exception) -> None:
        self.failed.append(attempt.delivery.record.key)


@pytest.mark.requirement(SECTION, "R7: an event that crashes the server costs other deliveries no attempt")
@pytest.mark.parametrize("is_back_at_once", [False, True])
async def test_an_event_that_crashes_the_server_is_charged_alone(*, is_back_at_once: bool) -> None:
    """Two deliveries of its pool and one of another run beside it. After a few crashes they take turns with it."""
    server = Server(is_back_at_once=is_back_at_once)
    one, other = Runner(server), Runner(server)
    async with asyncio.timeout(10):
        await asyncio.gather(
            *(one.until_settled(named(name)) for name in ("first", "poison", "second")),
            other.until_settled(named("third")),
        )
    assert (one.failed, other.failed) == ([b"poison"], [])
    assert (sorted(map(str, one.done)), other.done) == (["b'first'", "b'second'"], [b"third"])
    assert server.crashes == LOST_RUNS + 1


@pytest.mark.requirement(SECTION, "R7: an event that crashes the server costs other deliveries no attempt")
async def test_outages_cost_one_delivery_an_attempt_at_most() -> None:
    """The server crashes six times for another reason. Only one run is lost in each of the last crashes."""
    server = Server()
    server.seconds = 60
    runner = Runner(server)
    deliveries = [named(f"d{number}") for number in range(4)]
    running = [asyncio.create_task(runner.until_settled(delivery)) for delivery in deliveries]
    async with asyncio.timeout(10):
        for _ in range(LOST_RUNS + 1):
            expected = len(deliveries) if server.crashes < RUNS_LOST_TOGETHER else 1
            while len(server.running) < expected:  # noqa: ASYNC110 - only the fake knows
                await asyncio.sleep(0.001)
            assert len(server.running) == expected
            server.crash()
            while server.running:  # noqa: ASYNC110 - only the fake knows
                await asyncio.sleep(0)
        server.seconds = 0
        await asyncio.gather(*running)
    assert runner.failed == []
    assert len(runner.done) == len(deliveries)


async def test_a_turn_begins_when_the_gate_is_open() -> None:
    """What has lost fewer runs does not wait for it."""
    gate, fresh, suspected = DatabaseGate(ENGINE), a_delivery("fresh"), a_delivery("suspected")
    suspected.lost_runs = RUNS_LOST_TOGETHER
    began = asyncio.Event()

    async def take_turn() -> None:
        async with gate.turn([fresh, suspected]):
            began.set()

    gate._open.clear()
    async with gate.turn([fresh]):
        task = asyncio.create_task(take_turn())
        await asyncio.sleep(0.01)
        assert not began.is_set()
        gate._open.set()
        await task
