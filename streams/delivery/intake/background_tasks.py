"""Work beside a pool's units: records sent on, settlements that wait for Kafka. Revocation and drain wait for it."""

import asyncio
from collections.abc import Callable, Coroutine

from streams.transport.kafka.records import Assignment, Chunk, Record

AT_ONCE = 16
"""Records that are being sent on at the same time."""


class BackgroundTasks:
    """Tasks, each with the assignment whose end waits for it. Lives on the event loop."""

    def __init__(self, ended: Callable[["asyncio.Task[None]"], None]) -> None:
        """`ended` is called with each task that has ended."""
        self._ended = ended
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.tasks: dict[asyncio.Task[None], Assignment | None] = {}
        """Those under way."""

    def do(self, assignment: Assignment | None, work: Coroutine[object, object, None]) -> None:
        """Do it."""
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

    def _done(self, task: "asyncio.Task[None]") -> None:
        del self.tasks[task]
        self._ended(task)
