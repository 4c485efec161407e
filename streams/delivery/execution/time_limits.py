"""Soft and hard time limits around a handler's work, which runs in the task that calls it, step by step.

A task of its own for every attempt would cost more than a small handler does. So a step (what runs between two waits)
is run here, in a context of its own; work that never waits costs one call. `asyncio.timeout`, task groups and
`current_task` see the calling task all along.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from typing import Generic, TypeVar

from streams.delivery.errors import SoftTimeLimitExceeded, TimeLimitExceeded, UnaskedCancellationError
from streams.durations import format_duration

T = TypeVar("T")
CANCEL_GRACE = 2.0
"""Seconds that work which is cancelled from outside (revocation, shutdown) may take to end."""

_left_behind: set["asyncio.Task[object]"] = set()
"""Work that nobody waits for any more; asyncio itself holds tasks by weak references only."""


async def run_within(work: Coroutine[object, object, T], soft: float, hard: float) -> T:
    """What the handler returns or raises; limits in seconds from now.

    At `soft` it is cancelled: if it ends by `hard` with that cancellation, SoftTimeLimitExceeded is raised; if it
    returns or raises something of its own instead, that counts. Past `hard` it is not awaited any more and
    TimeLimitExceeded is raised: what it still does, now in a task of its own, must be fenced by the caller. So it is
    with work that has not ended CANCEL_GRACE after a cancellation from outside, which is raised on in any case.
    After either the calling task still counts as being cancelled: it should end soon, for a time-out that the work
    has begun in it may strike once more.

    A cancellation of the work's own making is a failure (UnaskedCancellationError): as CancelledError it would pass
    for one of the calling task, whose delivery nobody would settle then.
    """
    task = asyncio.current_task()
    if task is None:
        message = "there is no task to run within"
        raise RuntimeError(message)
    context, before = copy_context(), task.cancelling()
    try:
        awaited = context.run(work.send, None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    except asyncio.CancelledError as error:
        raise _unasked() from error
    limited = _Limited(work, context, task, before, awaited, soft=soft, hard=hard)
    try:
        result = await limited
    except GeneratorExit:
        raise
    except BaseException as error:
        verdict = limited.verdict(error)
        if verdict is error:
            raise
        raise verdict from error
    finally:
        limited.stop_clocks()
    if limited.cancelled_from_outside:
        raise asyncio.CancelledError
    return result


class _LeftBehindError(BaseException):
    """The work has not ended in time: it goes on without being waited for."""


class _Limited(Generic[T]):
    """Work that has come to its first wait, which is for `awaited`, in `task`.

    Cancellations are told apart by counting those of the task: what a step adds is of the work's own making, what
    the limits add is known, and the rest came from outside. Time-outs and task groups take theirs back.
    """

    def __init__(  # noqa: PLR0913 - what was begun, and its bounds
        self,
        work: Coroutine[object, object, T],
        context: Context,
        task: "asyncio.Task[object]",
        before: int,
        awaited: object,
        *,
        soft: float,
        hard: float,
    ) -> None:
        self._work = work
        self._context = context
        self._task = task
        self._awaited = awaited
        self._soft, self._hard = soft, hard
        self._known = task.cancelling()
        """Cancellations of the task that are not from outside."""
        self._before = before
        self._past_soft = self._past_hard = self._left = False
        self._loop = asyncio.get_running_loop()
        self._limit = self._loop.call_later(soft, self._pass_soft)
        self._grace: asyncio.TimerHandle | None = None

    def __await__(self) -> Generator[object, None, T]:
        awaited = self._awaited
        while True:
            step: Callable[[], object]
            try:
                yield awaited
            except GeneratorExit:
                self._work.close()
                raise
            except asyncio.CancelledError as error:
                self._cancelled()
                step = partial(self._work.throw, error)
            except BaseException as error:  # noqa: BLE001 - all that a task is woken with is the work's
                step = partial(self._work.throw, error)
            else:
                step = partial(self._work.send, None)
            before = self._task.cancelling()
            try:
                awaited = self._context.run(step)
            except StopIteration as ended:
                result: T = ended.value
                return result
            finally:
                self._known += max(0, self._task.cancelling() - before)

    @property
    def cancelled_from_outside(self) -> bool:
        """Whether somebody else wants the calling task to end."""
        return self._task.cancelling() > self._known

    def verdict(self, error: BaseException) -> BaseException:
        """What the end of the work by this error means to its caller."""
        if isinstance(error, _LeftBehindError):
            if not self._past_hard:
                return asyncio.CancelledError()
            message = f"still running after its hard time limit of {format_duration(self._hard)}"
            return TimeLimitExceeded(message)
        if self.cancelled_from_outside:
            return asyncio.CancelledError()
        if not isinstance(error, asyncio.CancelledError):
            return error
        if not self._past_soft:
            return _unasked()
        message = f"cancelled at its soft time limit of {format_duration(self._soft)}"
        return SoftTimeLimitExceeded(message)

    def stop_clocks(self) -> None:
        """No limit strikes any more; where the work has ended, its cancellations are over."""
        self._limit.cancel()
        if self._grace is not None:
            self._grace.cancel()
        if not self._left and not self.cancelled_from_outside:
            while self._task.cancelling() > self._before:
                self._task.uncancel()

    def _cancelled(self) -> None:
        """The task was woken by a cancellation. Raises _LeftBehindError where the work had its chance."""
        if self._left:
            going_on = self._loop.create_task(_go_on(self._work, self._context))
            _left_behind.add(going_on)
            going_on.add_done_callback(_left_behind.discard)
            going_on.add_done_callback(forget)
            raise _LeftBehindError
        if self._grace is None and self.cancelled_from_outside:
            self._grace = self._loop.call_later(CANCEL_GRACE, self._pass_grace)

    def _pass_soft(self) -> None:
        self._past_soft = True
        self._cancel()
        self._limit = self._loop.call_later(max(0.0, self._hard - self._soft), self._pass_hard)

    def _pass_hard(self) -> None:
        self._past_hard = self._left = True
        self._cancel()

    def _pass_grace(self) -> None:
        self._grace = None
        if self.cancelled_from_outside:
            self._left = True
            self._cancel()

    def _cancel(self) -> None:
        self._known += 1
        self._task.cancel()


async def _go_on(work: Coroutine[object, object, T], context: Context) -> T:
    return await _LeftWork(work, context)


class _LeftWork(Generic[T]):
    """Work that goes on alone, from the cancellation that it did not heed in time."""

    def __init__(self, work: Coroutine[object, object, T], context: Context) -> None:
        self._work = work
        self._context = context

    def __await__(self) -> Generator[object, None, T]:
        step: Callable[[], object] = partial(self._work.throw, asyncio.CancelledError())
        while True:
            try:
                awaited = self._context.run(step)
            except StopIteration as ended:
                result: T = ended.value
                return result
            try:
                yield awaited
            except GeneratorExit:
                self._work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - all that a task is woken with is the work's
                step = partial(self._work.throw, error)
            else:
                step = partial(self._work.send, None)


def _unasked() -> UnaskedCancellationError:
    return UnaskedCancellationError("cancelled from within: something that the handler awaited was cancelled")


def forget(task: "asyncio.Task[T]") -> None:
    """Take the outcome of a task that nobody awaits any more, so that it is not reported as unretrieved."""
    if not task.cancelled():
        task.exception()
