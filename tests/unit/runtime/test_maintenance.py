"""The loop of a maintenance job."""

import asyncio

import pytest
from sqlalchemy.exc import OperationalError

from streams.runtime.maintenance import _repeat


@pytest.mark.requirement("Faults of others", "R19: no error of a maintenance job ends the worker")
@pytest.mark.parametrize("error", [ValueError("a surprise"), OSError("no disk"), OperationalError("", {}, OSError())])
async def test_a_job_that_raises_is_run_again(error: Exception) -> None:
    runs = 0
    again = asyncio.Event()

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise error
        again.set()

    task = asyncio.create_task(_repeat(0.01, job))
    await asyncio.wait_for(again.wait(), 10)
    assert not task.done()
    task.cancel()
