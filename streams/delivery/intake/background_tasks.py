"""Background tasks of a pool: forwarded records, settlements that wait for Kafka, chunks that wait for input."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager

from streams.delivery.errors import StrayCancellationError
from streams.transport.kafka.records import Assignment, Chunk, Record

CONCURRENT_SENDS = 16
"""Records that are sent to one target at the same time."""


class BackgroundTasks:
    """Tasks, each with its assignment. Runs on the event loop.

    A task that fails, or that other code cancels, ends the process, because its records would never be settled.
    """

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        """Create an empty set of tasks. `fail` ends the process; it is called with the error of a task."""
        self._fail = fail
        self._slots: dict[str, tuple[asyncio.Semaphore, set[object]]] = {}
        """By target: its slots, and the records that use or await one."""
        self._cancelled: set[asyncio.Task[None]] = set()
        self.tasks: dict[asyncio.Task[None], Assignment | None] = {}
        """The running tasks."""

    def start(self, assignment: Assignment | None, work: Coroutine[object, object, None]) -> None:
        """Run a coroutine in a task of this assignment."""
        task = asyncio.create_task(work)
        self.tasks[task] = assignment
        task.add_done_callback(self._done)

    def send(self, chunk: Chunk, record: Record, target: str, sending: Coroutine[object, object, None]) -> None:
        """Forward a record of the chunk, then acknowledge its offset.

        Each target has its own slots: one that does not accept its records delays no other.

        Args:
            chunk: The chunk of the record.
            record: What is acknowledged.
            target: The topic that it is sent to.
            sending: Sends it.
        """

        async def send() -> None:
            try:
                async with self._slot(target):
                    await sending
            finally:
                sending.close()  # It is not started if the task is cancelled while it waits for a slot.
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

    @asynccontextmanager
    async def _slot(self, target: str) -> AsyncIterator[None]:
        """Hold a slot of a target. An unused target is removed, since foreign records may name any number of them."""
        slots, users = self._slots.setdefault(target, (asyncio.Semaphore(CONCURRENT_SENDS), set()))
        user = object()
        users.add(user)
        try:
            async with slots:
                yield
        finally:
            users.discard(user)
            if not users:
                self._slots.pop(target, None)

    def _done(self, task: "asyncio.Task[None]") -> None:
        del self.tasks[task]
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
        elif task not in self._cancelled:
            self._fail(StrayCancellationError("a background task was cancelled by code other than its engine"))
        self._cancelled.discard(task)
