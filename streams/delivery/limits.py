"""Soft and hard time limits around a handler's own task."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from streams.delivery.failures import SoftTimeLimitExceeded, TimeLimitExceeded, UnaskedCancellationError
from streams.duration import format_duration

T = TypeVar("T")
CANCEL_GRACE = 2.0
"""Seconds that a task which is cancelled from outside (revocation, shutdown) may take to end."""


async def run_within(work: Coroutine[object, object, T], soft: float, hard: float) -> T:
    """What the handler returns or raises; limits in seconds from now.

    At `soft` its task is cancelled: if it ends by `hard` with that cancellation, SoftTimeLimitExceeded is raised; if
    it returns or raises something of its own instead, that counts. Past `hard` it is not awaited any more and
    TimeLimitExceeded is raised: what it still does must be fenced by the caller. A cancellation of its own making is
    a failure (UnaskedCancellationError): as CancelledError it would pass for one of this task, whose delivery nobody
    would settle then.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=soft)
        if not done:
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=max(0.0, hard - soft))
            if not done:
                task.add_done_callback(forget)
                message = f"still running after its hard time limit of {format_duration(hard)}"
                raise TimeLimitExceeded(message)
            if task.cancelled():
                message = f"cancelled at its soft time limit of {format_duration(soft)}"
                raise SoftTimeLimitExceeded(message)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_GRACE)
        task.add_done_callback(forget)
        raise
    if task.cancelled():
        message = "cancelled from within: something that the handler awaited was cancelled"
        raise UnaskedCancellationError(message)
    return task.result()


def forget(task: asyncio.Task[T]) -> None:
    """Take the outcome of a task that nobody awaits any more, so that it is not reported as unretrieved."""
    if not task.cancelled():
        task.exception()
