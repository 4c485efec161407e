"""Queues of chunks that wait in order, one per assignment: for a schema, a payload or the crash-loop guard.

While the queue of an assignment is empty, a chunk is processed in the call that brings it, without a task.
"""

from collections import deque
from collections.abc import Callable, Collection, Coroutine

from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.transport.kafka.records import Assignment, Chunk

TryProcess = Callable[[Chunk, float | None], bool]
"""Processes a chunk; False: something must be awaited first, and nothing was done."""
Process = Callable[[Chunk, float | None], Coroutine[object, object, None]]
"""Awaits what is needed, and processes the chunk."""


class PartitionQueues:
    """The queues of one pool, one per assignment. Runs on the event loop.

    Each chunk has the delay of its retry tier in seconds, or None if it is of an event topic.
    """

    def __init__(self, try_process: TryProcess, process: Process, fail: Callable[[BaseException], None]) -> None:
        """Create empty queues.

        Args:
            try_process: Called for each chunk in order.
            process: Awaited for a chunk that `try_process` did not process. Later chunks wait until it returns.
            fail: Ends the process when `process` raises, because the partition would stop silently.
        """
        self._try_process = try_process
        self._process = process
        self._queues: dict[Assignment, deque[tuple[Chunk, float | None]]] = {}
        self._tasks = BackgroundTasks(fail)

    def put(self, chunk: Chunk, tier_delay: float | None) -> None:
        """Process a chunk: at once, or after the waiting chunks of its assignment."""
        queue = self._queues.get(chunk.assignment)
        if queue is not None:
            queue.append((chunk, tier_delay))
        elif not self._try_process(chunk, tier_delay):
            self._queues[chunk.assignment] = queue = deque()
            self._tasks.start(chunk.assignment, self._process_queue(queue, chunk, tier_delay))

    def run_in_background(self, assignment: Assignment, waiting: Coroutine[object, object, None]) -> None:
        """Run a coroutine that waits for one record. The queue of its assignment continues."""
        self._tasks.start(assignment, waiting)

    def discard(self, assignments: Collection[Assignment]) -> None:
        """Discard the waiting chunks of these assignments. The next owners of the partitions read them again."""
        for assignment in assignments:
            self._queues.pop(assignment, None)
        self._tasks.cancel(self._tasks.tasks_of(assignments))

    def close(self) -> None:
        """Discard all waiting chunks."""
        self._queues.clear()
        self._tasks.cancel(list(self._tasks.tasks))

    async def _process_queue(
        self, queue: deque[tuple[Chunk, float | None]], chunk: Chunk, tier_delay: float | None
    ) -> None:
        assignment = chunk.assignment
        await self._process(chunk, tier_delay)
        while queue:
            chunk, tier_delay = queue.popleft()
            if not self._try_process(chunk, tier_delay):
                await self._process(chunk, tier_delay)
        del self._queues[assignment]
