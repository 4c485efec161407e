"""An event that crashes the whole server is a dead letter in the end. What runs at the same time loses no attempt."""

import asyncio
import os
import signal

import pytest
from sqlalchemy import text

from streams.delivery import Backoff, Work, handles
from streams.delivery.admission.database_gate import LOST_RUNS, RUNS_LOST_TOGETHER
from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested, note
from tests.support.delivery_engine import open_bench
from tests.support.local_stack.breakable import stack, template
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "stack", "template", "trial"]
BACKEND = text("select pg_backend_pid()")


@pytest.mark.requirement("Faults of others", "R7: an event that crashes the server costs other deliveries no attempt")
async def test_an_event_that_crashes_the_server_is_a_dead_letter_and_its_neighbours_succeed(trial: Settings) -> None:
    """The kernel kills the server process of its transaction six times. PostgreSQL then ends all connections."""
    crashes: list[int] = []

    async def work(event: SingleTrialRequested, work: Work) -> None:
        backend = (await work.session.execute(BACKEND)).scalar_one()
        if event.plan == "kill":
            await asyncio.sleep(0.2)
            crashes.append(backend)
            os.kill(backend, signal.SIGKILL)
        await work.session.execute(text("select pg_sleep(1)"))
        await note(event, work, "single")

    handler = handles(SingleTrialRequested, name="single", retry=Backoff(attempts=1))(work)
    async with open_bench(trial, handler) as bench:
        events = [
            SingleTrialRequested(entity=name, plan="kill" if name == "bad" else "succeed") for name in ("a", "bad", "b")
        ]
        await bench.settled(bench.feed(*events), seconds=120)
        found = [(row["status"], row["attempts"]) for row in await bench.executions()]
        effects = {row["entity"] for row in await bench.query("select entity from trials")}
    assert sorted(found) == [("failure", 1), ("success", 1), ("success", 1)]
    assert effects == {"a", "b"}
    assert RUNS_LOST_TOGETHER < len(crashes) <= LOST_RUNS + 1
