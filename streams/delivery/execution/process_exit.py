"""Turns what would end the process, when a handler raises it, into a failure of the handler.

`sys.exit()` raises SystemExit. asyncio lets it and KeyboardInterrupt out of the event loop, from any task.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

from streams.delivery.errors import ProcessExitError
from streams.observability.logs import has_delivery

T = TypeVar("T")
_LETS_OUT = (SystemExit, KeyboardInterrupt)
"""What asyncio raises out of the event loop."""


def exit_error(error: BaseException) -> ProcessExitError:
    """Return the failure for an exception that is no Exception. The caller raises it with the original as its cause."""
    text = str(error)
    return ProcessExitError(f"the handler raised {type(error).__name__}" + (f": {text}" if text else ""))


def start_call(function: Callable[..., Awaitable[T]], *args: object) -> Coroutine[object, object, T]:
    """Call a function of a handler and return its coroutine. It may return any awaitable, but a task needs a coroutine.

    Raises:
        ProcessExitError: The call itself raised what would end the process.
        Exception: Anything else that the call itself raises.
    """
    try:
        call = function(*args)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise exit_error(error) from error
    return call if inspect.iscoroutine(call) else _await(call)


async def _await(call: Awaitable[T]) -> T:
    return await call


def contain_exits(loop: asyncio.AbstractEventLoop) -> None:
    """Let no task of a handler end the process: in tasks that have an event, `sys.exit()` is a ProcessExitError.

    Only such tasks get another frame around their coroutine. Callbacks, as of `call_later`, are not contained.
    """
    if loop.get_task_factory() is None:
        loop.set_task_factory(_create_task)


def _create_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, T] | Generator[Any, None, T],
    *,
    context: Context | None = None,
    **options: Any,  # noqa: ANN401 - asyncio decides
) -> "asyncio.Task[T]":
    """Create a task as asyncio does. Newer versions of Python pass more options."""
    contained = _contained(work) if inspect.iscoroutine(work) and has_delivery() else work
    return asyncio.Task(contained, loop=loop, context=context, **options)


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except _LETS_OUT as error:
        raise exit_error(error) from error
