"""The background tasks of a worker: the relay and the jobs that run until the worker ends."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack

from streams.observability import metrics
from streams.observability.logs import get_logger
from streams.publishing.outbox.relay import Relay

Crash = Callable[[BaseException], None]
"""Ends the process with exit code 1. Called for failures of the worker itself, never for those of a handler."""
log = get_logger(__name__)


def start_tasks(
    stack: AsyncExitStack,
    relay: Relay,
    jobs: Iterable[Coroutine[object, object, None]],
    *,
    crash: Crash,
    stop_timeout: float,
) -> None:
    """Start the relay and the other background tasks. An exception in any of them ends the process.

    When the stack closes, the relay may finish its current work within `stop_timeout`. The others are cancelled; what
    a driver raises when it is cancelled is logged, since the process ends already.

    Args:
        stack: Ends the tasks when it closes.
        relay: The relay of the outbox.
        jobs: The other tasks.
        crash: Ends the process.
        stop_timeout: Seconds.
    """
    stop_relay = asyncio.Event()

    def on_error(error: BaseException) -> None:
        if stop_relay.is_set():
            log.warning("background task failed while the worker stops", exc_info=error)
        else:
            log.critical("background task crashed", exc_info=error)
            crash(error)

    relay_task = _start_task(relay.run(stop_relay), on_error)
    others = [_start_task(one, on_error) for one in jobs]

    async def end() -> None:
        stop_relay.set()
        for task in others:
            task.cancel()
        await asyncio.wait([relay_task, *others], timeout=stop_timeout)
        if not relay_task.done():
            metrics.drains_exceeded(["relay"])
        relay_task.cancel()

    stack.push_async_callback(end)


def _start_task(work: Coroutine[object, object, None], on_error: Crash) -> "asyncio.Task[None]":
    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            on_error(error)

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    return task
