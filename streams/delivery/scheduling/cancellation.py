"""Cancellations by the owner of a task, which work in it can be told apart from its own."""

import asyncio
from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")
_cancelled: "WeakSet[asyncio.Task[object]]" = WeakSet()


def cancel_task(task: "asyncio.Task[T]") -> None:
    """Cancel a task that runs work. The outcome of its work no longer counts.

    A plain `task.cancel()` is not enough: work cancels its own task, too. A TaskGroup does so when one of its tasks
    fails, and up to Python 3.12 it may leave the task marked as being cancelled.
    """
    _cancelled.add(task)
    task.cancel()


def is_cancelled_by_owner(task: "asyncio.Task[T]") -> bool:
    """Return whether `cancel_task` has cancelled a task."""
    return task in _cancelled
