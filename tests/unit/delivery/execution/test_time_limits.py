"""Soft and hard time limits."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.errors import SoftTimeLimitExceeded, TimeLimitExceeded, UnaskedCancellationError
from streams.delivery.execution.time_limits import run_within
from streams.delivery.scheduling.cancellation import cancel_task


async def forever() -> None:
    await asyncio.Event().wait()


async def test_results_and_exceptions_reach_the_caller() -> None:
    async def give() -> int:
        return 7

    async def fail() -> None:
        raise KeyError("mine")

    assert await run_within(give(), 1, 2) == 7
    with pytest.raises(KeyError):
        await run_within(fail(), 1, 2)


async def test_work_is_cancelled_at_its_soft_limit() -> None:
    with pytest.raises(SoftTimeLimitExceeded, match="soft time limit"):
        await run_within(forever(), 0.01, 5)


async def test_a_result_after_the_soft_limit_counts() -> None:
    async def tidy() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "tidied"
        return "never"

    assert await run_within(tidy(), 0.01, 5) == "tidied"


async def test_work_that_swallows_its_cancellation_is_abandoned_at_the_hard_limit() -> None:
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


async def test_work_that_swallows_a_cancellation_from_outside_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.delivery.execution.time_limits.CANCEL_GRACE", 0.05)
    released, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    task = asyncio.create_task(run_within(stubborn(), 10, 20))
    await asyncio.sleep(0)
    cancel_task(task)
    with pytest.raises(asyncio.CancelledError):
        await task
    released.set()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_result_after_a_cancellation_from_outside_does_not_count() -> None:
    async def tidy() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "tidied"
        return "never"

    task = asyncio.create_task(run_within(tidy(), 10, 20))
    await asyncio.sleep(0)
    cancel_task(task)
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_before_it_waits() -> None:
    raise asyncio.CancelledError


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await forever()


async def cancels_itself_later() -> None:
    await asyncio.sleep(0)
    await cancels_itself()


async def awaits_what_was_cancelled() -> None:
    other = asyncio.create_task(forever())
    await asyncio.sleep(0)
    other.cancel()
    await other


@pytest.mark.parametrize(
    "work", [cancelled_before_it_waits, cancels_itself, cancels_itself_later, awaits_what_was_cancelled]
)
async def test_a_cancellation_that_the_work_raises_itself_is_a_failure(
    work: Callable[[], Coroutine[object, object, None]],
) -> None:
    with pytest.raises(UnaskedCancellationError):
        await run_within(work(), 10, 20)
    await asyncio.sleep(0)  # the calling task goes on


async def test_timeouts_and_task_groups_inside_the_work_leave_no_cancellation() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("mine")

    async def in_a_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await forever()

    async def work() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await forever()
        with pytest.raises(ExceptionGroup):
            await in_a_group()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(), 0.01)
        return "done"

    assert await run_within(work(), 10, 20) == "done"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_soft_limit_fires_inside_a_timeout_of_the_work() -> None:
    async def work() -> None:
        async with asyncio.timeout(5):
            await forever()

    with pytest.raises(SoftTimeLimitExceeded):
        await run_within(work(), 0.01, 5)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_after_the_hard_limit_the_calling_task_is_being_cancelled_and_the_abandoned_work_is_not() -> None:
    released: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def stubborn() -> None:
        while not released.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(released)

    async def call() -> int:
        with pytest.raises(TimeLimitExceeded):
            await run_within(stubborn(), 0.01, 0.02)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert await asyncio.create_task(call()) > 0
    assert not released.cancelled()
    released.set_result(None)


async def test_the_work_sees_context_variables_of_its_caller_and_its_changes_stay_inside() -> None:
    value: ContextVar[str] = ContextVar("value", default="none")
    value.set("the caller's")

    async def work() -> str:
        seen = value.get()
        value.set("its own")
        await asyncio.sleep(0)
        assert value.get() == "its own"
        return seen

    assert await run_within(work(), 10, 20) == "the caller's"
    assert value.get() == "the caller's"


@given(st.lists(st.sampled_from(["wait", "time-out", "group", "bare", "fail"]), max_size=8))
async def test_any_sequence_of_steps_ends(steps: list[str]) -> None:
    async def work() -> int:
        for step in steps:
            if step == "wait":
                await asyncio.sleep(0.0001)
            elif step == "bare":
                await asyncio.sleep(0)
            elif step == "time-out":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.0001):
                        await forever()
            elif step == "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))
            else:
                message = "step"
                raise KeyError(message)
        return len(steps)

    if "fail" in steps:
        with pytest.raises(KeyError):
            await run_within(work(), 10, 20)
    else:
        assert await run_within(work(), 10, 20) == len(steps)
