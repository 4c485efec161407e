"""Chunks of a partition that wait for something, in order: a note, a schema, a payload. Other partitions go on.

While nothing of an assignment waits, a chunk is taken over in the call that brings it, without a task.
"""

from collections import deque
from collections.abc import Callable, Collection, Coroutine

from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.transport.kafka.records import Assignment, Chunk

TakeNow = Callable[[Chunk, float | None], bool]
"""Takes a chunk over; False: something has to be awaited first, and nothing was done."""
Take = Callable[[Chunk, float | None], Coroutine[object, object, None]]
"""Awaits what has to be awaited, and takes the chunk over."""


class PartitionQueues:
    """One queue per assignment of a pool. Lives on the event loop.

    A chunk comes with the delay of its retry tier in seconds, or None for a chunk of an event topic.
    """

    def __init__(self, take_now: TakeNow, take: Take, fail: Callable[[BaseException], None]) -> None:
        """Make the queues of a pool, all empty.

        Args:
            take_now: Called for each chunk in its turn.
            take: Run for a chunk that `take_now` did not take. The chunks behind it wait until it returns.
            fail: Ends the process when `take` raises: the partition would stop without a word.
        """
        self._take_now = take_now
        self._take = take
        self._queues: dict[Assignment, deque[tuple[Chunk, float | None]]] = {}
        self._tasks = BackgroundTasks(fail)

    def put(self, chunk: Chunk, tier_delay: float | None) -> None:
        """Take a chunk over: at once, or after the chunks of its assignment that wait."""
        queue = self._queues.get(chunk.assignment)
        if queue is not None:
            queue.append((chunk, tier_delay))
        elif not self._take_now(chunk, tier_delay):
            self._queues[chunk.assignment] = queue = deque()
            self._tasks.do(chunk.assignment, self._work_off(queue, chunk, tier_delay))

    def wait_alone(self, assignment: Assignment, waiting: Coroutine[object, object, None]) -> None:
        """Run what waits for one record. The queue of its assignment goes on."""
        self._tasks.do(assignment, waiting)

    def forget(self, assignments: Collection[Assignment]) -> None:
        """Forget what waits of these assignments: the next owners of the partitions read the records again."""
        for assignment in assignments:
            self._queues.pop(assignment, None)
        self._tasks.cancel(self._tasks.tasks_of(assignments))

    def close(self) -> None:
        """Forget everything."""
        self._queues.clear()
        self._tasks.cancel(list(self._tasks.tasks))

    async def _work_off(self, queue: deque[tuple[Chunk, float | None]], chunk: Chunk, tier_delay: float | None) -> None:
        assignment = chunk.assignment
        await self._take(chunk, tier_delay)
        while queue:
            chunk, tier_delay = queue.popleft()
            if not self._take_now(chunk, tier_delay):
                await self._take(chunk, tier_delay)
        del self._queues[assignment]
