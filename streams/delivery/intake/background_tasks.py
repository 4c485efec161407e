"""Tasks in the background of a pool's units: records sent on, settlements that wait for Kafka, chunks that wait."""

import asyncio
from collections.abc import Callable, Collection, Coroutine

from streams.delivery.errors import StrayCancellationError
from streams.transport.kafka.records import Assignment, Chunk, Record

AT_ONCE = 16
"""Records that are being sent on at the same time."""


class BackgroundTasks:
    """Tasks, each with the assignment that it belongs to. Lives on the event loop.

    A task that fails, or that somebody else cancels, ends the process: its records would never be settled.
    """

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        """`fail` ends the process. It is called with the error of a task."""
        self._fail = fail
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._cancelled: set[asyncio.Task[None]] = set()
        self.tasks: dict[asyncio.Task[None], Assignment | None] = {}
        """Those under way."""

    def do(self, assignment: Assignment | None, work: Coroutine[object, object, None]) -> None:
        """Run it in a task."""
        task = asyncio.create_task(work)
        self.tasks[task] = assignment
        task.add_done_callback(self._done)

    def send(self, chunk: Chunk, record: Record, sending: Coroutine[object, object, None]) -> None:
        """Send a record of the chunk on, then acknowledge it."""

        async def send() -> None:
            async with self._slots:
                await sending
            chunk.settle(record.offset)

        self.do(chunk.assignment, send())

    def tasks_of(self, assignments: Collection[Assignment]) -> list[asyncio.Task[None]]:
        """The tasks that belong to these assignments."""
        return [task for task, assignment in self.tasks.items() if assignment in assignments]

    def cancel(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """Cancel some of the tasks."""
        self._cancelled.update(tasks)
        for task in tasks:
            task.cancel()

    def _done(self, task: "asyncio.Task[None]") -> None:
        del self.tasks[task]
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
        elif task not in self._cancelled:
            self._fail(StrayCancellationError("a background task was cancelled, and not by its engine"))
        self._cancelled.discard(task)
