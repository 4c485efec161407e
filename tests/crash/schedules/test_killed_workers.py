"""Two workers whose schedules are due every second are killed again and again, at any moment around a slot.

Expected: no slot is lost and none runs twice. Each has one event with one effect.
"""

import random
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.scheduled_trials import TOPIC
from tests.support.cli import Commands
from tests.support.faults.group_protocols import both_protocols
from tests.support.processes.worker_process import WorkerProcess, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
SCHEDULES = 8
SECONDS = 60.0
KILLS = 8
"""At least so many, for at least so long."""
BETWEEN = (0.1, 3.0)
"""Seconds from a worker being ready to the next kill, from and to."""


@pytest.mark.requirement("Schedules", "workers killed around hundreds of slots lose none and double none")
@pytest.mark.timeout(420)
@both_protocols
def test_no_slot_is_lost_or_doubled(trial: Settings, engine: Engine, worker: MakeWorker) -> None:  # noqa: ARG001 - set
    chance = random.Random(16)
    commands = Commands()
    names = [f"schedule-{number}" for number in range(SCHEDULES)]
    workers = [worker().start() for _ in range(2)]
    for name in names:
        policy = ("--overlap", "allow", "--catch-up", "1h", "--every", "1s")
        commands.json("schedules", "add", name, "--event", TOPIC, "--args", f'{{"entity": "{name}"}}', *policy)
    until = time.monotonic() + SECONDS
    kills = 0
    while time.monotonic() < until or kills < KILLS:
        time.sleep(chance.uniform(*BETWEEN))
        workers[kills % 2].kill()
        workers[kills % 2] = worker().start()
        kills += 1
    for name in names:
        commands.json("schedules", "pause", name)
    unfinished = "select count(*) from streams.slots where status <> 'success'"
    wait_for(lambda: scalar(engine, unfinished) == 0, "every slot to be done", 120)
    for name in names:
        assert_complete(engine, name)
    slots = int(str(scalar(engine, "select count(*) from streams.slots")))
    assert slots > SCHEDULES * SECONDS * 0.8
    for one in workers:
        assert one.stop() == 0


def assert_complete(engine: Engine, name: str) -> None:
    """Check that a schedule has a slot for each second, and each slot one effect."""
    statement = """
        select extract(epoch from max(slot) - min(slot))::int + 1 as expected, count(*) as slots,
            count(distinct event_id) as events,
            (select count(*) from trials where entity = :name) as effects,
            (select count(distinct event_id) from trials where entity = :name) as distinct_effects
        from streams.slots where schedule = :name
    """
    (row,) = rows(engine, statement, name=name)
    assert len(set(row.values())) == 1, f"{name}: {row}"
