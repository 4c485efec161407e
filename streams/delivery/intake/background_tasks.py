"""Background tasks of a pool: forwarded records, settlements that wait for Kafka, chunks that wait for input."""

import asyncio
from collections.abc import Callable, Collection, Coroutine

from streams.delivery.errors import StrayCancellationError
from streams.transport.kafka.records import Assignment, Chunk, Record

CONCURRENT_SENDS = 16
"""Records that are sent at the same time."""


class BackgroundTasks:
    """Tasks, each with its assignment. Runs on the event loop.

    A task that fails, or that other code cancels, ends the process, because its records would never be settled.
    """

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        """Create an empty set of tasks. `fail` ends the process; it is called with the error of a task."""
        self._fail = fail
        self._slots = asyncio.Semaphore(CONCURRENT_SENDS)
        self._cancelled: set[asyncio.Task[None]] = set()
        self.tasks: dict[asyncio.Task[None], Assignment | None] = {}
        """The running tasks."""

    def start(self, assignment: Assignment | None, work: Coroutine[object, object, None]) -> None:
        """Run a coroutine in a task of this assignment."""
        task = asyncio.create_task(work)
        self.tasks[task] = assignment
        task.add_done_callback(self._done)

    def send(self, chunk: Chunk, record: Record, sending: Coroutine[object, object, None]) -> None:
        """Forward a record of the chunk, then acknowledge its offset.

        Args:
            chunk: The chunk of the record.
            record: What is acknowledged.
            sending: Sends it.
        """

        async def send() -> None:
            async with self._slots:
                await sending
            chunk.settle(record.offset)

        self.start(chunk.assignment, send())

    def tasks_of(self, assignments: Collection[Assignment]) -> list[asyncio.Task[None]]:
        """Return the tasks of these assignments."""
        return [task for task, assignment in self.tasks.items() if assignment in assignments]

    def cancel(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """Cancel these tasks."""
        self._cancelled.update(tasks)
        for task in tasks:
            task.cancel()

    def _done(self, task: "asyncio.Task[None]") -> None:
        del self.tasks[task]
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
        elif task not in self._cancelled:
            self._fail(StrayCancellationError("a background task was cancelled by code other than its engine"))
        self._cancelled.discard(task)
