"""A long handler after its final step: its success is committed, and there is no lease that it could lose."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from schemas import Event
from streams.delivery import Work
from streams.delivery.errors import LeaseLostError, Unavailable
from streams.delivery.execution import attempt
from streams.delivery.execution.attempt import AttemptContext, LongWork
from streams.delivery.handler import JSON, Handler
from streams.delivery.ledger import leases
from streams.delivery.runners import heartbeats
from tests.support.factories import a_delivery

LEASE = 0.06
BEATS = 3 * LEASE / heartbeats.HEARTBEATS_PER_LEASE
"""Seconds in which more than one heartbeat is due."""


@dataclass
class Ledger:
    """Stands for the table of leases: the final step releases the lease, and a heartbeat finds it or not."""

    held: bool = True
    late_reply: bool = False
    """Whether the reply to the COMMIT comes after a heartbeat."""
    commit_error: Exception | None = None
    beats: list[bool] = field(default_factory=list)

    async def hold_lease(self, *_: object) -> bool:
        return self.held

    async def finish_long(self, *_: object) -> None:
        """Leave the release to the COMMIT."""

    async def extend_lease(self, *_: object) -> bool:
        self.beats.append(self.held)
        return self.held

    @asynccontextmanager
    async def effect_session(self, *_: object) -> AsyncIterator[None]:
        yield
        if self.commit_error is not None:
            raise self.commit_error
        self.held = False
        if self.late_reply:
            await self.beaten(held=False)

    async def beaten(self, *, held: bool) -> None:
        """Return when a heartbeat has found the lease, or found none."""
        while held not in self.beats:  # noqa: ASYNC110 - a list of results
            await asyncio.sleep(0.001)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    made = Ledger()
    for name in ("hold_lease", "finish_long", "extend_lease"):
        monkeypatch.setattr(leases, name, getattr(made, name))
    monkeypatch.setattr(attempt, "effect_session", made.effect_session)
    return made


async def run(function: Callable[[Event, Work], Awaitable[JSON]], **policy: float) -> tuple[JSON, LongWork]:
    """Run a long handler with heartbeats; return its result and its work."""
    handler = Handler(name="long", event=Event, function=function, kind="long", **policy)  # type: ignore[arg-type]
    delivery = a_delivery(handler=handler)
    context = SimpleNamespace(spans=None, database=SimpleNamespace(effects=None, bookkeeping=None))
    work = LongWork(cast("AttemptContext", context), delivery, leases.Lease("r", delivery.event.event_id, LEASE))
    return await heartbeats.run_with_heartbeats(delivery, work, LEASE), work


async def finish_slowly(_event: Event, work: Work) -> JSON:
    async with work.step(final=True):
        pass
    await asyncio.sleep(BEATS)
    return {"keys": 3}


async def test_a_handler_that_works_after_its_final_step_returns_its_result(ledger: Ledger) -> None:
    """The heartbeats end with the step. Nothing cancels the handler."""
    result, work = await run(finish_slowly)
    assert (result, work.finished, ledger.beats) == ({"keys": 3}, True, [])


async def test_a_heartbeat_during_the_last_commit_does_not_cancel_the_handler(ledger: Ledger) -> None:
    """The server has committed, and its reply is late. Heartbeats find no lease meanwhile."""
    ledger.late_reply = True
    result, work = await run(finish_slowly)
    assert (result, work.finished) == ({"keys": 3}, True)


async def test_a_failed_final_step_still_needs_its_lease(ledger: Ledger) -> None:
    """The handler tries it again under heartbeats. Without the lease it is cancelled."""

    async def work_long(_event: Event, work: Work) -> JSON:
        ledger.commit_error = ValueError("rolled back")
        with pytest.raises(ValueError, match="rolled back"):
            async with work.step(final=True):
                pass
        await ledger.beaten(held=True)
        ledger.held = False
        await asyncio.sleep(60)
        return None

    with pytest.raises(LeaseLostError, match="expired while the handler ran"):
        await run(work_long)
    assert not ledger.beats[-1]


@pytest.mark.parametrize("error", [Unavailable("storage", "away"), LeaseLostError("no lease"), ValueError("no")])
async def test_an_error_after_the_final_step_is_only_logged(ledger: Ledger, error: Exception) -> None:
    """The success is in the ledger: no other run, no failure, no lost lease."""

    async def work_long(_event: Event, work: Work) -> JSON:
        async with work.step(final=True):
            pass
        raise error

    result, work = await run(work_long)
    assert (result, work.finished, ledger.held) == (None, True, False)


@pytest.mark.usefixtures("ledger")
async def test_the_time_limits_hold_after_the_final_step() -> None:
    """The handler is cancelled at its soft limit. Its delivery has succeeded."""
    ended: list[str] = []

    async def work_long(_event: Event, work: Work) -> JSON:
        async with work.step(final=True):
            pass
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return None

    async with asyncio.timeout(10):
        _, work = await run(work_long, soft_time_limit=BEATS, time_limit=5.0)
    assert (ended, work.finished) == (["cancelled"], True)


async def test_without_a_final_step_a_lost_lease_cancels_the_handler(ledger: Ledger) -> None:
    ledger.held = False

    async def work_long(_event: Event, _work: Work) -> JSON:
        await asyncio.sleep(60)
        return None

    with pytest.raises(LeaseLostError, match="expired while the handler ran"):
        await run(work_long)
