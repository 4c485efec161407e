"""A file that loops or uses too much memory fails its own attempt. The worker and other attempts continue."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from streams.delivery.errors import OutOfMemoryError
from streams.delivery.process_pool import TASKS_PER_PROCESS, ComputePool
from streams.dify.extraction import Extracted, extract
from tests.support.platform.document_files import pdf
from tests.support.processes.memory_hog import leak

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"


@pytest.fixture
def pool() -> Iterator[ComputePool]:
    made = ComputePool(1, preload=["streams.dify.extraction"], memory=256)
    yield made
    made.close()


def _eat(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20))


def _loop() -> None:
    while True:
        pass


async def _read(pool: ComputePool) -> Extracted:
    return await pool.run(extract, (pdf("Still here"), "pdf", DOCUMENT), {}, seconds=30)


@pytest.mark.requirement("Extraction", "a loop, too much memory")
async def test_memory_is_bounded(pool: ComputePool) -> None:
    """Above the limit the attempt fails with the name of the setting, and the next file is read."""
    assert await pool.run(_eat, (32,), {}, seconds=30) == 32 << 20

    with pytest.raises(OutOfMemoryError, match=r"_eat needs more than 256 MiB of memory.*STREAMS_COMPUTE_MEMORY"):
        await pool.run(_eat, (512,), {}, seconds=30)

    assert (await _read(pool)).text == "Still here"


@pytest.mark.requirement("Extraction", "a loop, too much memory")
async def test_a_loop_is_killed(pool: ComputePool) -> None:
    """It is killed at its time limit, and a new process reads the next file."""
    await _read(pool)
    started = asyncio.get_running_loop().time()

    with pytest.raises(TimeoutError):
        await pool.run(_loop, (), {}, seconds=0.5)

    assert asyncio.get_running_loop().time() - started < 10
    assert (await _read(pool)).text == "Still here"


@pytest.mark.requirement("Faults and operations", "killable processes replaced after 50 tasks, and at a memory bound")
async def test_a_process_that_keeps_too_much_is_replaced() -> None:
    """A leak must not fail the next attempt: above three quarters of the limit, another process runs it."""
    pool = ComputePool(1, preload=["streams.dify.extraction"], memory=512)
    try:
        ran = [await pool.run(leak, (150,), {}, seconds=30) for _ in range(4)]
    finally:
        pool.close()
    assert ran == [1, 2, 3, 1]


@pytest.mark.requirement("Faults and operations", "killable processes replaced after 50 tasks, and at a memory bound")
async def test_a_process_is_replaced_after_so_many_tasks(pool: ComputePool) -> None:
    ran = [await pool.run(os.getpid, (), {}, seconds=30) for _ in range(TASKS_PER_PROCESS * 2)]
    assert len(set(ran)) in {2, 3}
    assert max(ran.count(one) for one in set(ran)) <= TASKS_PER_PROCESS
