"""Waiting chunks keep the order of their partition, block no other partition, and never stop silently."""

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


class Queues:
    """Queues whose chunks are processed once `open` was called for their first record."""

    def __init__(self) -> None:
        self.processed: list[tuple[int, int]] = []
        self.delays: list[float | None] = []
        self.failures: list[BaseException] = []
        self.error: Exception | None = None
        self._gates: dict[tuple[int, int], asyncio.Event] = {}
        self.queues = PartitionQueues(self._try_process, self._process, self.failures.append)

    def put(self, assignment: Assignment, offset: int, *, waits: bool = False, delay: float | None = None) -> None:
        """Put a chunk with one record. `waits`: it is processed only after `open`."""
        if waits:
            self._gates[assignment.partition, offset] = asyncio.Event()
        self.queues.put(Chunk(assignment, [a_record(offset, partition=assignment.partition)]), delay)

    def open(self, partition: int, offset: int) -> None:
        """Let a chunk be processed."""
        self._gates[partition, offset].set()

    def _try_process(self, chunk: Chunk, delay: float | None) -> bool:
        place = _place(chunk)
        gate = self._gates.get(place)
        if gate is not None and not gate.is_set():
            return False
        self.processed.append(place)
        self.delays.append(delay)
        return True

    async def _process(self, chunk: Chunk, delay: float | None) -> None:
        await self._gates[_place(chunk)].wait()
        if self.error is not None:
            raise self.error
        assert self._try_process(chunk, delay)


def _place(chunk: Chunk) -> tuple[int, int]:
    return chunk.partition, chunk.records[0].offset


def partitions(count: int = 1) -> list[Assignment]:
    return [Assignment("document.deleted", number) for number in range(count)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is asked for has no event of its own
            await asyncio.sleep(0)


@pytest.mark.requirement(
    "Source tree and packaging",
    "one queue per assignment; nothing queued: one synchronous call",
)
def test_with_an_empty_queue_a_chunk_is_processed_in_the_call_and_without_a_loop() -> None:
    queues, (only,) = Queues(), partitions()
    queues.put(only, 0)
    queues.put(only, 1, delay=10.0)
    assert queues.processed == [(0, 0), (0, 1)]
    assert queues.delays == [None, 10.0]


async def test_a_waiting_chunk_blocks_later_chunks_of_its_partition_only() -> None:
    queues, (slow, quick) = Queues(), partitions(2)
    queues.put(slow, 0, waits=True)
    queues.put(slow, 1)
    queues.put(quick, 0)
    await asyncio.sleep(0)
    queues.put(slow, 2, waits=True)
    queues.put(slow, 3)
    assert queues.processed == [(1, 0)]
    queues.open(0, 0)
    await until(lambda: len(queues.processed) == 3)
    assert queues.processed[1:] == [(0, 0), (0, 1)]
    queues.open(0, 2)
    await until(lambda: len(queues.processed) == 5)
    queues.put(slow, 4)
    assert queues.processed[3:] == [(0, 2), (0, 3), (0, 4)], "the queue is removed once it is empty"


async def test_a_revocation_discards_the_chunks_of_its_partition_only() -> None:
    queues, (leaving, staying) = Queues(), partitions(2)
    for assignment in (leaving, staying):
        queues.put(assignment, 0, waits=True)
        queues.put(assignment, 1)
    await asyncio.sleep(0)
    queues.queues.discard([leaving])
    queues.open(0, 0)
    queues.open(1, 0)
    await until(lambda: len(queues.processed) == 2)
    await asyncio.sleep(0)
    assert queues.processed == [(1, 0), (1, 1)]
    assert queues.failures == []


async def test_a_revocation_before_the_task_has_started_discards_too() -> None:
    queues, (leaving,) = Queues(), partitions()
    queues.put(leaving, 0, waits=True)
    queues.queues.discard([leaving])
    queues.open(0, 0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (queues.processed, queues.failures) == ([], [])


async def test_a_waiting_record_blocks_nothing_and_is_cancelled_with_its_partition() -> None:
    queues, (only,) = Queues(), partitions()
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    queues.queues.run_in_background(only, wait())
    queues.put(only, 1)
    assert queues.processed == [(0, 1)]
    await asyncio.sleep(0)
    queues.queues.discard([only])
    async with asyncio.timeout(5):
        await cancelled.wait()
    await asyncio.sleep(0)
    assert queues.failures == []


async def test_an_unexpected_error_ends_the_process() -> None:
    queues, (only,) = Queues(), partitions()
    queues.error = RuntimeError("a mistake")
    queues.put(only, 0, waits=True)
    queues.open(0, 0)
    await until(lambda: queues.failures)
    assert queues.failures == [queues.error]


async def test_an_unexpected_error_of_a_later_chunk_ends_the_process_too() -> None:
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


async def test_a_cancellation_by_other_code_ends_the_process() -> None:
    """Otherwise the records would never be settled, and their partition would stop silently."""
    queues, (only,) = Queues(), partitions()
    before = asyncio.all_tasks()
    queues.put(only, 0, waits=True)
    await asyncio.sleep(0)
    (task,) = asyncio.all_tasks() - before
    task.cancel()
    await until(lambda: queues.failures)
    assert [type(error) for error in queues.failures] == [StrayCancellationError]


async def test_close_discards_the_waiting_chunks() -> None:
    queues, (only,) = Queues(), partitions()
    queues.put(only, 0, waits=True)
    await asyncio.sleep(0)
    queues.queues.close()
    queues.open(0, 0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (queues.processed, queues.failures) == ([], [])


@pytest.mark.requirement(
    "Source tree and packaging",
    "one queue per assignment; nothing queued: one synchronous call",
)
@pytest.mark.parametrize("steps", [0, 1, 3])
@given(
    plan=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=20),
    opening=st.randoms(use_true_random=False),
)
def test_in_any_interleaving_each_partition_is_processed_in_order(
    steps: int, plan: list[tuple[int, bool]], opening: Random
) -> None:
    async def run() -> None:
        queues, assignments = Queues(), partitions(3)
        shut = []
        for offset, (partition, waits) in enumerate(plan):
            queues.put(assignments[partition], offset, waits=waits)
            if waits:
                shut.append((partition, offset))
            for _ in range(steps):
                await asyncio.sleep(0)
        opening.shuffle(shut)
        for place in shut:
            queues.open(*place)
            for _ in range(steps):
                await asyncio.sleep(0)
        await until(lambda: len(queues.processed) == len(plan))
        for number in range(3):
            offsets = [offset for partition, offset in queues.processed if partition == number]
            assert offsets == sorted(offsets)
        assert queues.failures == []

    asyncio.run(run())
