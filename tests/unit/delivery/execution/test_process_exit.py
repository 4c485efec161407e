"""A handler that would end the process has failed: SystemExit and its kind never leave the event loop."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from schemas import DocumentDeleted
from streams.delivery import ProcessExitError, TimeLimitExceeded, Work, handles
from streams.delivery.execution.process_exit import contain_exits
from streams.delivery.execution.time_limits import run_within
from streams.observability.logs import bind_delivery
from streams.testing import run
from tests.support.factories import an_event


class StopEverything(BaseException):
    """An exception of a library that is no Exception, as greenlets and test runners have."""


async def at_once() -> None:
    sys.exit(3)


async def later() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


async def in_a_thread() -> None:
    await asyncio.to_thread(sys.exit, 3)


async def as_a_generator() -> None:
    await asyncio.sleep(0)
    raise GeneratorExit


async def of_a_library() -> None:
    raise StopEverything


async def in_a_task() -> None:
    await asyncio.create_task(at_once())


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(at_once())


async def gathered() -> None:
    await asyncio.gather(at_once(), later())


Run = Callable[[], Coroutine[object, object, None]]


@pytest.mark.requirement(
    "Faults of others", "c07: `sys.exit()` in a handler is the handler's failure, not the worker's end"
)
@pytest.mark.parametrize("work", [at_once, later, in_a_thread, as_a_generator, of_a_library])
async def test_work_that_would_end_the_process_fails(work: Run) -> None:
    with pytest.raises(ProcessExitError, match="the handler raised") as failed:
        await run_within(work(), 10, 20)
    assert failed.value.__cause__ is not None


@pytest.mark.requirement(
    "Faults of others", "c07: `sys.exit()` in a handler is the handler's failure, not the worker's end"
)
@pytest.mark.parametrize("work", [in_a_task, in_a_group, gathered])
def test_a_task_of_the_work_does_not_end_the_loop(work: Run) -> None:
    """Asyncio raises SystemExit of any task out of the loop, before the work that awaits the task sees it."""

    async def main() -> str:
        contain_exits(asyncio.get_running_loop())
        bind_delivery(dict)
        with pytest.raises((ProcessExitError, ExceptionGroup)):
            await run_within(work(), 10, 20)
        return "the loop goes on"

    assert asyncio.run(main()) == "the loop goes on"


def test_abandoned_work_does_not_end_the_loop() -> None:
    """Past its hard limit it runs in a task of its own, where nobody awaits it."""
    ended: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("exit")
                sys.exit(3)

    async def main() -> None:
        with pytest.raises(TimeLimitExceeded, match="hard time limit"):
            await run_within(stubborn(), 0.01, 0.02)
        while not ended:  # noqa: ASYNC110 - the work tells nobody else
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())


async def test_a_call_that_exits_before_it_returns_a_coroutine_fails() -> None:
    def plain(_event: DocumentDeleted, _work: Work) -> Awaitable[None]:
        sys.exit("no coroutine")

    with pytest.raises(ProcessExitError, match="the handler raised SystemExit: no coroutine"):
        await run(handles(DocumentDeleted)(plain), an_event())


async def fail() -> None:
    raise KeyError("mine")


async def group_fails() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


async def group_fails_and_work_goes_on() -> str:
    try:
        await group_fails()
    except ExceptionGroup:
        await asyncio.sleep(0)
        return "gone on"
    return "nothing failed"


@pytest.mark.requirement(
    "Faults of others", "c07: `sys.exit()` in a handler is the handler's failure, not the worker's end"
)
async def test_a_task_group_that_fails_is_no_cancellation() -> None:
    """Up to Python 3.12 it leaves its task marked as being cancelled, if it fails while it waits at its end."""
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await run_within(group_fails(), 10, 20)
    assert await run_within(group_fails_and_work_goes_on(), 10, 20) == "gone on"
    assert task.cancelling() == 0
