"""Soft and hard time limits around a handler's own task."""

import asyncio
from collections.abc import Coroutine
from typing import Generic, TypeVar

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
    limited = _Limited(work, soft, hard)
    task = limited.task
    try:
        await limited.ended()
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_GRACE)
        task.add_done_callback(forget)
        raise
    if not task.done():
        task.add_done_callback(forget)
        message = f"still running after its hard time limit of {format_duration(hard)}"
        raise TimeLimitExceeded(message)
    if task.cancelled():
        if limited.past_soft:
            message = f"cancelled at its soft time limit of {format_duration(soft)}"
            raise SoftTimeLimitExceeded(message)
        message = "cancelled from within: something that the handler awaited was cancelled"
        raise UnaskedCancellationError(message)
    return task.result()


class _Limited(Generic[T]):
    """A task, one timer at a time, and a future that ends with the task or at the hard limit.

    For every attempt, so made of as little as possible: `asyncio.wait` costs three times as much.
    """

    __slots__ = ("_ended", "_rest", "_timer", "past_soft", "task")

    def __init__(self, work: Coroutine[object, object, T], soft: float, hard: float) -> None:
        loop = asyncio.get_running_loop()
        self._rest = max(0.0, hard - soft)
        self._ended = loop.create_future()
        self._timer = loop.call_later(soft, self._pass_soft)
        self.past_soft = False
        self.task = loop.create_task(work)
        self.task.add_done_callback(self._end)

    async def ended(self) -> None:
        """Return once the task has ended, or the hard limit has passed."""
        try:
            await self._ended
        finally:
            self._timer.cancel()

    def _pass_soft(self) -> None:
        self.past_soft = True
        self.task.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._rest, self._end)

    def _end(self, _task: asyncio.Task[T] | None = None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def forget(task: asyncio.Task[T]) -> None:
    """Take the outcome of a task that nobody awaits any more, so that it is not reported as unretrieved."""
    if not task.cancelled():
        task.exception()
