"""A file that loops or eats memory ends its own attempt; the worker and the other attempts go on."""

import asyncio
from collections.abc import Iterator

import pytest

from streams.delivery.compute import ComputePool, OutOfMemoryError
from streams.dify.extraction import Extracted, extract
from tests.making_files import pdf

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


async def test_memory_is_bounded(pool: ComputePool) -> None:
    """Within the limit it runs; past it the attempt fails with the setting's name, and the next file is read."""
    assert await pool.run(_eat, (32,), {}, seconds=30) == 32 << 20

    with pytest.raises(OutOfMemoryError, match=r"_eat needs more than 256 MiB of memory.*STREAMS_COMPUTE_MEMORY"):
        await pool.run(_eat, (512,), {}, seconds=30)

    assert (await _read(pool)).text == "Still here"


async def test_a_loop_is_killed(pool: ComputePool) -> None:
    """At its time, not later; the next file is read by a new process."""
    await _read(pool)
    started = asyncio.get_running_loop().time()

    with pytest.raises(TimeoutError):
        await pool.run(_loop, (), {}, seconds=0.5)

    assert asyncio.get_running_loop().time() - started < 10
    assert (await _read(pool)).text == "Still here"
