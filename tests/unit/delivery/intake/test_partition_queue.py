"""Chunks of a partition that wait keep their order, hold up no other partition, and never stop without a word."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.errors import StrayCancellationError
from streams.delivery.intake.partition_queue import PartitionQueues
from streams.transport.kafka.records import Assignment, Chunk
from tests.support.factories import a_record


class Line:
    """Queues, and what they need: a chunk is taken over once `open(offset)` was called for its first record."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []
        self.delays: list[float | None] = []
        self.failures: list[BaseException] = []
        self.error: Exception | None = None
        self._gates: dict[tuple[int, int], asyncio.Event] = {}
        self.queues = PartitionQueues(self._take_now, self._take, self.failures.append)

    def put(self, assignment: Assignment, offset: int, *, waits: bool = False, delay: float | None = None) -> None:
        """Hand a chunk of one record over; `waits`: only `open` lets it go on."""
        if waits:
            self._gates[assignment.partition, offset] = asyncio.Event()
        self.queues.put(Chunk(assignment, [a_record(offset, partition=assignment.partition)]), delay)

    def open(self, partition: int, offset: int) -> None:
        """There is what the chunk waits for."""
        self._gates[partition, offset].set()

    def _take_now(self, chunk: Chunk, delay: float | None) -> bool:
        place = _place(chunk)
        gate = self._gates.get(place)
        if gate is not None and not gate.is_set():
            return False
        self.taken.append(place)
        self.delays.append(delay)
        return True

    async def _take(self, chunk: Chunk, delay: float | None) -> None:
        await self._gates[_place(chunk)].wait()
        if self.error is not None:
            raise self.error
        assert self._take_now(chunk, delay)


def _place(chunk: Chunk) -> tuple[int, int]:
    return chunk.partition, chunk.records[0].offset


def partitions(count: int = 1) -> list[Assignment]:
    return [Assignment("document.deleted", number) for number in range(count)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is asked for has no event of its own
            await asyncio.sleep(0)


def test_while_nothing_waits_a_chunk_is_taken_over_in_the_call_and_without_a_loop() -> None:
    line, (only,) = Line(), partitions()
    line.put(only, 0)
    line.put(only, 1, delay=10.0)
    assert line.taken == [(0, 0), (0, 1)]
    assert line.delays == [None, 10.0]


async def test_a_chunk_that_waits_keeps_those_of_its_partition_behind_it_and_others_go_on() -> None:
    line, (slow, quick) = Line(), partitions(2)
    line.put(slow, 0, waits=True)
    line.put(slow, 1)
    line.put(quick, 0)
    await asyncio.sleep(0)
    line.put(slow, 2, waits=True)
    line.put(slow, 3)
    assert line.taken == [(1, 0)]
    line.open(0, 0)
    await until(lambda: len(line.taken) == 3)
    assert line.taken[1:] == [(0, 0), (0, 1)]
    line.open(0, 2)
    await until(lambda: len(line.taken) == 5)
    line.put(slow, 4)
    assert line.taken[3:] == [(0, 2), (0, 3), (0, 4)], "the queue is gone once it is empty"


async def test_revocation_forgets_what_waits_and_leaves_the_other_partitions() -> None:
    line, (leaving, staying) = Line(), partitions(2)
    for assignment in (leaving, staying):
        line.put(assignment, 0, waits=True)
        line.put(assignment, 1)
    await asyncio.sleep(0)
    line.queues.forget([leaving])
    line.open(0, 0)
    line.open(1, 0)
    await until(lambda: len(line.taken) == 2)
    await asyncio.sleep(0)
    assert line.taken == [(1, 0), (1, 1)]
    assert line.failures == []


async def test_revocation_before_the_task_has_begun_forgets_too() -> None:
    line, (leaving,) = Line(), partitions()
    line.put(leaving, 0, waits=True)
    line.queues.forget([leaving])
    line.open(0, 0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (line.taken, line.failures) == ([], [])


async def test_a_record_that_waits_alone_holds_up_nothing_and_is_forgotten_with_its_partition() -> None:
    line, (only,) = Line(), partitions()
    went_on = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            went_on.set()

    line.queues.wait_alone(only, wait())
    line.put(only, 1)
    assert line.taken == [(0, 1)]
    await asyncio.sleep(0)
    line.queues.forget([only])
    async with asyncio.timeout(5):
        await went_on.wait()
    await asyncio.sleep(0)
    assert line.failures == []


async def test_a_failure_of_our_own_ends_the_process() -> None:
    line, (only,) = Line(), partitions()
    line.error = RuntimeError("a mistake")
    line.put(only, 0, waits=True)
    line.open(0, 0)
    await until(lambda: line.failures)
    assert line.failures == [line.error]


async def test_a_failure_of_what_waits_behind_ends_the_process_too() -> None:
    def fail(_chunk: Chunk, _delay: float | None) -> bool:
        if entered:
            raise error
        entered.append(1)
        return False

    async def take(_chunk: Chunk, _delay: float | None) -> None:
        await asyncio.sleep(0)

    entered: list[int] = []
    error, failures, (only,) = ValueError("a mistake"), list[BaseException](), partitions()
    queues = PartitionQueues(fail, take, failures.append)
    queues.put(Chunk(only, [a_record(0)]), None)
    queues.put(Chunk(only, [a_record(1)]), None)
    await until(lambda: failures)
    assert failures == [error]


async def test_what_somebody_else_cancels_ends_the_process() -> None:
    """The records would never be settled, and their partition would stand still without a word."""
    line, (only,) = Line(), partitions()
    before = asyncio.all_tasks()
    line.put(only, 0, waits=True)
    await asyncio.sleep(0)
    (task,) = asyncio.all_tasks() - before
    task.cancel()
    await until(lambda: line.failures)
    assert [type(error) for error in line.failures] == [StrayCancellationError]


async def test_at_the_end_nothing_is_taken_over_any_more() -> None:
    line, (only,) = Line(), partitions()
    line.put(only, 0, waits=True)
    await asyncio.sleep(0)
    line.queues.close()
    line.open(0, 0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (line.taken, line.failures) == ([], [])


@pytest.mark.parametrize("steps", [0, 1, 3])
@given(
    plan=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=20),
    opening=st.randoms(use_true_random=False),
)
def test_in_any_interleaving_each_partition_is_taken_over_in_its_order(
    steps: int, plan: list[tuple[int, bool]], opening: Random
) -> None:
    async def run() -> None:
        line, assignments = Line(), partitions(3)
        shut = []
        for offset, (partition, waits) in enumerate(plan):
            line.put(assignments[partition], offset, waits=waits)
            if waits:
                shut.append((partition, offset))
            for _ in range(steps):
                await asyncio.sleep(0)
        opening.shuffle(shut)
        for place in shut:
            line.open(*place)
            for _ in range(steps):
                await asyncio.sleep(0)
        await until(lambda: len(line.taken) == len(plan))
        for number in range(3):
            offsets = [offset for partition, offset in line.taken if partition == number]
            assert offsets == sorted(offsets)
        assert line.failures == []

    asyncio.run(run())
