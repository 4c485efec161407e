"""The processor time of an attempt: its own steps, and neither its waits nor the work of others meanwhile."""

import asyncio
import time
from dataclasses import dataclass

import pytest

from streams.delivery.errors import TimeLimitExceeded
from streams.delivery.execution.processor_time import THREAD_CLOCK, WINDOW
from streams.delivery.execution.time_limits import run_within

BUSY = 0.05
"""Processor seconds. Far more than the clock's window."""
SLACK = 0.02


@dataclass
class Attempt:
    processor_seconds: float = 0.0


def burn(seconds: float) -> None:
    """Use this much processor time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def measured(work, hard: float = 10.0) -> float:  # type: ignore[no-untyped-def]  # noqa: ANN001 - any coroutine
    """Return the processor time of the work as a runner measures it."""
    attempt, began = Attempt(), THREAD_CLOCK.seconds()
    try:
        await run_within(work, hard / 2, hard, spent=attempt)
    finally:
        attempt.processor_seconds += THREAD_CLOCK.seconds() - began
    return attempt.processor_seconds


@pytest.mark.requirement("Logs and metrics", "processor seconds of an attempt")
async def test_the_steps_count_and_the_work_of_others_does_not() -> None:
    """Between its two steps the handler waits, and another task uses three times as much."""

    async def other() -> None:
        burn(3 * BUSY)

    async def handler() -> None:
        burn(BUSY)
        await asyncio.create_task(other())
        burn(BUSY)

    assert await measured(handler()) == pytest.approx(2 * BUSY, abs=SLACK)


async def test_a_blocked_thread_uses_nothing() -> None:
    """A handler that sleeps without `await` blocks the event loop, but needs no processor."""

    async def handler() -> None:
        time.sleep(4 * BUSY)  # noqa: ASYNC251 - the fault

    assert await measured(handler()) < BUSY


async def test_a_short_step_counts_as_it_is() -> None:
    """Thousands of short steps sum up to the time of the thread."""

    async def handler() -> None:
        sum(range(1000))

    before, found = time.thread_time(), 0.0
    for _ in range(2000):
        found += await measured(handler())
    whole = time.thread_time() - before
    assert 0.1 * whole < found < whole + WINDOW * 10


async def test_an_abandoned_handler_has_no_time_of_others() -> None:
    """The handler ignores its limits. What other tasks use until the hard one is not its own."""

    async def other() -> None:
        while True:
            burn(0.01)
            await asyncio.sleep(0)

    async def handler() -> None:
        while True:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                if ended:
                    raise

    ended: list[bool] = []
    others = asyncio.create_task(other())
    attempt, began = Attempt(), THREAD_CLOCK.seconds()
    with pytest.raises(TimeLimitExceeded):
        await run_within(handler(), 0.1, 0.3, spent=attempt)
    attempt.processor_seconds += THREAD_CLOCK.seconds() - began
    ended.append(True)
    others.cancel()
    assert attempt.processor_seconds < BUSY
