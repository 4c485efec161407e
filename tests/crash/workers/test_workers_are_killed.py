"""Two workers under load; again and again one of them is killed by SIGKILL and started anew.

Expected: each event has its effect once, and no attempt is burned by a death; nothing is left behind.
"""

import random
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, published_beside
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
KILLS = 8
BETWEEN = (0.2, 2.0)
"""Seconds from one worker's being ready to the next kill."""


@pytest.mark.timeout(420)
@both_protocols
def test_each_event_has_its_effect_once(trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    chance = random.Random(7)
    load = mixed(6_000)
    workers = [worker().start() for _ in range(2)]
    with published_beside(trial, engine, load, seconds=50):
        for number in range(KILLS):
            time.sleep(chance.uniform(*BETWEEN))
            workers[number % 2].kill()
            workers[number % 2] = worker().start()
    settle_accounts(engine, streams, load, seconds=180)
    attempts_are_counted(engine, load)
    leave_in_order(*workers)
