"""Soft and hard time limits for a handler, which runs in the task of its caller.

A task per attempt would cost more than a small handler does. So the steps of the handler's coroutine (the code between
two awaits) are run here, in a context of their own. Work that never waits costs one call. `asyncio.timeout`, task
groups and `current_task` see the calling task. Only work that outlives its hard limit gets a task of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from typing import Generic, TypeVar

from streams.delivery.errors import SoftTimeLimitExceeded, TimeLimitExceeded, UnaskedCancellationError
from streams.delivery.execution.process_exit import exit_error
from streams.delivery.execution.processor_time import THREAD_CLOCK, ProcessorSeconds
from streams.delivery.scheduling.cancellation import is_cancelled_by_owner
from streams.durations import format_duration

T = TypeVar("T")
CANCEL_GRACE = 2.0
"""Seconds that work may take to end after a cancellation from outside (revocation, shutdown)."""

_abandoned_tasks: set["asyncio.Task[object]"] = set()
"""Work that is no longer awaited. asyncio itself keeps only weak references to tasks."""


async def run_within(
    work: Coroutine[object, object, T], soft: float, hard: float, spent: ProcessorSeconds | None = None
) -> T:
    """Run work within its time limits, and return or raise what it does.

    At `soft` the work is cancelled. If it returns or raises another exception before `hard`, that counts.

    At `hard` the work is no longer awaited. It continues in a task of its own, so the caller must fence its effects.
    The same happens to work that does not end within CANCEL_GRACE after `cancel_task`; CancelledError is raised in
    that case. Afterwards the calling task still counts as being cancelled. It should end soon, because a
    time-out that the work started in it may fire once more.

    Args:
        work: The handler's coroutine.
        soft: Seconds from now.
        hard: Seconds from now.
        spent: The processor time of this thread while the work waits is subtracted from it; None: not measured.

    Raises:
        SoftTimeLimitExceeded: The work ended by its cancellation at `soft`.
        TimeLimitExceeded: The work did not end by `hard`.
        UnaskedCancellationError: The work raised CancelledError although it was not cancelled. As CancelledError it
            would look like a cancellation of the calling task, and the delivery would never be settled.
        ProcessExitError: The work raised SystemExit, KeyboardInterrupt or GeneratorExit, which would end the process.
    """
    task = asyncio.current_task()
    if task is None:
        message = "run_within must be called in a task"
        raise RuntimeError(message)
    context, before = copy_context(), task.cancelling()
    try:
        awaited = context.run(work.send, None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    except asyncio.CancelledError as error:
        raise _unrequested() from error
    except Exception:
        raise
    except BaseException as error:
        raise exit_error(error) from error
    limited = _Limited(work, context, task, before, awaited, soft=soft, hard=hard, spent=spent)
    try:
        result = await limited
    except GeneratorExit:
        raise
    except BaseException as error:
        outcome = limited.outcome(error)
        if outcome is error:
            raise
        raise outcome from error
    finally:
        limited.cancel_timers()
    if limited.cancelled_by_owner:
        raise asyncio.CancelledError
    return result


class _AbandonedError(BaseException):
    """The work has not ended in time: it continues and is no longer awaited."""


class _Limited(Generic[T]):
    """Work that runs in `task` and waits for the first time, for `awaited`.

    Cancellations are distinguished by counting those of the task: those that a step adds are the work's own, those of
    the limits are counted here, and all others came from outside. Time-outs undo theirs. A TaskGroup may not, so these
    counts matter only if the work ends by a cancellation.
    """

    def __init__(  # noqa: PLR0913 - the state of the started work, and its limits
        self,
        work: Coroutine[object, object, T],
        context: Context,
        task: "asyncio.Task[object]",
        before: int,
        awaited: object,
        *,
        soft: float,
        hard: float,
        spent: ProcessorSeconds | None,
    ) -> None:
        self._work = work
        self._context = context
        self._task = task
        self._awaited = awaited
        self._soft, self._hard = soft, hard
        self._spent = spent
        self._own_cancellations = task.cancelling()
        """Cancellations of the task that are not from outside."""
        self._before = before
        self._past_soft = self._past_hard = self._abandoned = self._ended_from_outside = False
        self._loop = asyncio.get_running_loop()
        self._limit = self._loop.call_later(soft, self._pass_soft)
        self._grace: asyncio.TimerHandle | None = None

    def __await__(self) -> Generator[object, None, T]:
        awaited = self._awaited
        while True:
            step: Callable[[], object]
            try:
                left_at = THREAD_CLOCK.seconds()
                try:
                    yield awaited
                finally:
                    if self._spent is not None:
                        self._spent.processor_seconds -= THREAD_CLOCK.seconds() - left_at
            except GeneratorExit:
                self._work.close()
                raise
            except asyncio.CancelledError as error:
                self._on_cancelled()
                step = partial(self._work.throw, error)
            except BaseException as error:  # noqa: BLE001 - the work gets every exception of its task
                step = partial(self._work.throw, error)
            else:
                step = partial(self._work.send, None)
            before = self._task.cancelling()
            try:
                awaited = self._context.run(step)
            except StopIteration as ended:
                result: T = ended.value
                return result
            except (Exception, asyncio.CancelledError):
                raise
            except BaseException as error:
                raise exit_error(error) from error
            finally:
                self._own_cancellations += max(0, self._task.cancelling() - before)

    @property
    def cancelled_from_outside(self) -> bool:
        """Whether the calling task was cancelled by code outside this work."""
        return self._task.cancelling() > self._own_cancellations

    @property
    def cancelled_by_owner(self) -> bool:
        """Whether the owner of the calling task has cancelled it."""
        return is_cancelled_by_owner(self._task)

    def outcome(self, error: BaseException) -> BaseException:  # noqa: PLR0911 - one per way to end
        """Return the exception that the caller gets when the work ends with this error."""
        if isinstance(error, _AbandonedError):
            if not self._past_hard:
                return asyncio.CancelledError()
            message = f"still running after its hard time limit of {format_duration(self._hard)}"
            return TimeLimitExceeded(message)
        if self.cancelled_by_owner:
            return asyncio.CancelledError()
        if not isinstance(error, asyncio.CancelledError):
            return error
        if self.cancelled_from_outside:
            self._ended_from_outside = True
            return asyncio.CancelledError()
        if not self._past_soft:
            return _unrequested()
        message = f"cancelled at its soft time limit of {format_duration(self._soft)}"
        return SoftTimeLimitExceeded(message)

    def cancel_timers(self) -> None:
        """Cancel the timers. If the work has ended, undo the cancellations of the limits."""
        self._limit.cancel()
        if self._grace is not None:
            self._grace.cancel()
        if not self._abandoned and not self.cancelled_by_owner and not self._ended_from_outside:
            while self._task.cancelling() > self._before:
                self._task.uncancel()

    def _on_cancelled(self) -> None:
        """Handle a cancellation of the task. Raises _AbandonedError if the work had its time to end."""
        if self._abandoned:
            resumed = self._loop.create_task(_resume(self._work, self._context))
            _abandoned_tasks.add(resumed)
            resumed.add_done_callback(_abandoned_tasks.discard)
            resumed.add_done_callback(ignore_outcome)
            raise _AbandonedError
        if self._grace is None and self.cancelled_by_owner:
            self._grace = self._loop.call_later(CANCEL_GRACE, self._pass_grace)

    def _pass_soft(self) -> None:
        self._past_soft = True
        self._cancel()
        self._limit = self._loop.call_later(max(0.0, self._hard - self._soft), self._pass_hard)

    def _pass_hard(self) -> None:
        self._past_hard = self._abandoned = True
        self._cancel()

    def _pass_grace(self) -> None:
        self._grace = None
        self._abandoned = True
        self._cancel()

    def _cancel(self) -> None:
        self._own_cancellations += 1
        self._task.cancel()


async def _resume(work: Coroutine[object, object, T], context: Context) -> T:
    return await _AbandonedWork(work, context)


class _AbandonedWork(Generic[T]):
    """Abandoned work, which continues in its own task from the cancellation that it ignored."""

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
            except (Exception, asyncio.CancelledError):
                raise
            except BaseException as error:
                raise exit_error(error) from error
            try:
                yield awaited
            except GeneratorExit:
                self._work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - the work gets every exception of its task
                step = partial(self._work.throw, error)
            else:
                step = partial(self._work.send, None)


def _unrequested() -> UnaskedCancellationError:
    return UnaskedCancellationError("the handler was not cancelled, but something that it awaited was")


def ignore_outcome(task: "asyncio.Task[T]") -> None:
    """Retrieve the exception of a task that is no longer awaited, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()
