"""Two workers run under load. One of them is killed and restarted several times.

Expected: each event has one effect, and a kill costs no attempt. No row or record is left over.
"""

import random
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, publish_in_background
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
KILLS = 8
BETWEEN = (0.2, 2.0)
"""Seconds from a worker being ready to the next kill, from and to."""


@pytest.mark.requirement("Faults and operations", "workers killed again and again under load, both protocols")
@pytest.mark.timeout(420)
@both_protocols
def test_each_event_has_one_effect(trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    chance = random.Random(7)
    load = mixed(6_000)
    workers = [worker().start() for _ in range(2)]
    with publish_in_background(trial, engine, load, seconds=50):
        for number in range(KILLS):
            time.sleep(chance.uniform(*BETWEEN))
            workers[number % 2].kill()
            workers[number % 2] = worker().start()
    assert_each_done_once(engine, streams, load, seconds=180)
    assert_attempts(engine, load)
    stop_cleanly(*workers)
