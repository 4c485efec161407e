"""Drains that meet their time limit are counted by the kind of work that was still running."""

import asyncio

import pytest

from streams.delivery import Work, handles
from streams.observability.metrics import REGISTRY
from streams.settings import Settings
from tests.support.apps.trials import LongTrialRequested, SingleTrialRequested
from tests.support.delivery_engine import open_bench
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
LIMIT = 0.2
"""Seconds. The work never ends in time: it waits for the test."""
gates: list[asyncio.Event] = []
"""The last one belongs to the event loop of the test."""
began: list[str] = []
"""The handlers that have begun."""


@handles(SingleTrialRequested)
async def wait_single(event: SingleTrialRequested, work: Work) -> None:  # noqa: ARG001 - a handler's signature
    """Wait for the test."""
    began.append("single")
    await gates[-1].wait()


@handles(LongTrialRequested, kind="long", resource=lambda event: event.entity)
async def wait_long(event: LongTrialRequested, work: Work) -> None:  # noqa: ARG001 - a handler's signature
    """Wait for the test."""
    began.append("long")
    await gates[-1].wait()


def counted() -> dict[str, float]:
    """Return the counted drains by kind of work."""
    kinds = ("single", "batch", "long", "settlement")
    return {kind: REGISTRY.get_sample_value("streams_drains_exceeded_total", {"work": kind}) or 0.0 for kind in kinds}


def since(before: dict[str, float]) -> dict[str, float]:
    return {kind: value - before[kind] for kind, value in counted().items() if value != before[kind]}


@pytest.mark.requirement("Logs and metrics", "drains that met their bound, by kind of work")
async def test_a_drain_that_meets_its_limit_counts_the_work_that_it_cut(trial: Settings) -> None:
    """At a revocation and at the end of the worker. A drain whose work ends in time counts nothing."""
    gates.append(asyncio.Event())
    began.clear()
    async with open_bench(trial, wait_single) as bench:
        assignment = bench.feed(SingleTrialRequested(entity="e"))
        await bench.until(lambda: bool(began), "the handler to run")
        before = counted()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.engine.on_revoking([assignment]), LIMIT)
        assert since(before) == {"single": 1}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.engine.drain(), LIMIT)
        assert since(before) == {"single": 2}
        gates[-1].set()
        await bench.settled(assignment)
        await asyncio.wait_for(bench.engine.drain(), 10)
        assert since(before) == {"single": 2}


async def test_long_work_that_is_cancelled_by_a_drain_is_counted_once(trial: Settings) -> None:
    """Its lease is released within the drain, which then ends in time."""
    gates.append(asyncio.Event())
    began.clear()
    settings = trial.model_copy(update={"drain_timeout": 1.0})
    async with open_bench(settings, wait_long, pool="low") as bench:
        bench.feed(LongTrialRequested(entity="e"))
        await bench.until(lambda: bool(began), "the handler to run")
        before = counted()
        await asyncio.wait_for(bench.engine.drain(), 20)
        assert since(before) == {"long": 1}
