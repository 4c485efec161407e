"""Workers join and leave in order, again and again, while deliveries fail and are retried.

Expected: each event has its effect once, at its first attempt or at its second where the first failed; no retry runs
before it is due.
"""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, none_was_early, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, published_beside
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
CHANGES = 8


@pytest.mark.timeout(420)
@both_protocols
def test_each_event_has_its_effect_once(trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    load = mixed(4_000)
    workers = [worker().start()]
    with published_beside(trial, engine, load, seconds=50):
        for number in range(CHANGES):
            workers.append(worker().start())
            time.sleep(1)
            if number % 2 or len(workers) > 2:
                leave_in_order(workers.pop(0))
    settle_accounts(engine, streams, load)
    attempts_are_counted(engine, load)
    none_was_early(engine)
    leave_in_order(*workers)
