"""PostgreSQL ends by SIGKILL, and by a restart in order, again and again in the middle of batches.

Expected: work on it waits and goes on by itself, in the same worker process; each event has its effect once, and no
attempt is burned, though a commit may have been cut off with its outcome unknown.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, published_beside
from tests.support.faults.server_faults import kill_server, pid_of, restore
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
RESTARTS = 4


@pytest.mark.timeout(300)
@both_protocols
def test_work_waits_and_no_attempt_is_burned(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    load = mixed(4_000)
    one = worker().start()
    with published_beside(trial, engine, load, seconds=30):
        for number in range(RESTARTS):
            time.sleep(3)
            if number % 2:
                os.kill(pid_of(stack, "postgres"), signal.SIGINT)
            else:
                kill_server(stack, "postgres")
            time.sleep(2)
            restore(stack)
    settle_accounts(engine, streams, load)
    attempts_are_counted(engine, load)
    leave_in_order(one)
