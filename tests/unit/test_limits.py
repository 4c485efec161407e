"""Soft and hard time limits."""

import asyncio

import pytest

from streams.delivery.failures import SoftTimeLimitExceeded, TimeLimitExceeded
from streams.delivery.limits import run_within


async def forever() -> None:
    await asyncio.Event().wait()


async def test_what_the_work_returns_and_raises_comes_through() -> None:
    async def give() -> int:
        return 7

    async def fail() -> None:
        raise KeyError("mine")

    assert await run_within(give(), 1, 2) == 7
    with pytest.raises(KeyError):
        await run_within(fail(), 1, 2)


async def test_work_past_the_soft_limit_is_cancelled_and_told_so() -> None:
    with pytest.raises(SoftTimeLimitExceeded, match="soft time limit"):
        await run_within(forever(), 0.01, 5)


async def test_work_that_tidies_up_and_returns_after_the_soft_limit_counts() -> None:
    async def tidy() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "tidied"
        return "never"

    assert await run_within(tidy(), 0.01, 5) == "tidied"


async def test_work_that_swallows_its_cancellation_is_left_behind_at_the_hard_limit() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeLimitExceeded, match="hard time limit"):
        await run_within(stubborn(), 0.01, 0.05)
    released.set()


async def test_cancelled_from_outside_the_work_is_cancelled_too() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            ended.set()

    task = asyncio.create_task(run_within(work(), 10, 20))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
