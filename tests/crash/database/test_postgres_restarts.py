"""PostgreSQL is killed and restarted in turn, several times in the middle of batches.

Expected: work waits for the database and continues by itself in the same worker process. Each event has one effect,
and the restarts cost no attempt, even if the outcome of a commit is unknown.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, publish_in_background
from tests.support.faults.server_faults import kill_server, pid_of, restore
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
RESTARTS = 4


@pytest.mark.requirement("Faults and operations", "PostgreSQL restarted in the middle of batches, both protocols")
@pytest.mark.timeout(300)
@both_protocols
def test_work_waits_and_no_attempt_is_counted(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    load = mixed(4_000)
    one = worker().start()
    with publish_in_background(trial, engine, load, seconds=30):
        for number in range(RESTARTS):
            time.sleep(3)
            if number % 2:
                os.kill(pid_of(stack, "postgres"), signal.SIGINT)
            else:
                kill_server(stack, "postgres")
            time.sleep(2)
            restore(stack)
    assert_each_done_once(engine, streams, load)
    assert_attempts(engine, load)
    stop_cleanly(one)
