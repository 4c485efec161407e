"""Workers join and leave the group several times while deliveries fail and are retried.

Expected: each event has one effect, at its first attempt, or at its second one if the first failed. No retry runs
before it is due.
"""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, assert_no_early_retry, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, publish_in_background
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
CHANGES = 8


@pytest.mark.requirement("Faults and operations", "workers joining and leaving during retries, both protocols")
@pytest.mark.timeout(420)
@both_protocols
def test_each_event_has_one_effect(trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    load = mixed(4_000)
    workers = [worker().start()]
    with publish_in_background(trial, engine, load, seconds=50):
        for number in range(CHANGES):
            workers.append(worker().start())
            time.sleep(1)
            if number % 2 or len(workers) > 2:
                stop_cleanly(workers.pop(0))
    assert_each_done_once(engine, streams, load)
    assert_attempts(engine, load)
    assert_no_early_retry(engine)
    stop_cleanly(*workers)
