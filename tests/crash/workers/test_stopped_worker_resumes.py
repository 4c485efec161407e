"""A worker is stopped by SIGSTOP for longer than its session timeout, and then continued by SIGCONT.

Expected: another worker takes over its partitions and leases. The late work of the stopped worker is rejected by the
fence, so each event has one effect. The stopped worker rejoins the group, or ends and logs why.
"""

import os
import signal
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import LongTrialRequested, SingleTrialRequested
from tests.support.faults.assertions import assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load, mixed, publish_in_background
from tests.support.processes.worker_process import Streams, WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


@pytest.mark.requirement(
    "Faults and operations",
    "a worker stopped beyond its session that wakes is fenced, both protocols",
)
@pytest.mark.timeout(300)
@both_protocols
def test_the_resumed_worker_is_fenced(trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    held = [SingleTrialRequested(entity=f"held{number}", plan="sleep", seconds=0.8) for number in range(40)]
    long = [LongTrialRequested(entity=f"long{number}", plan="sleep", seconds=2) for number in range(8)]
    load = Load([*held, *long, *mixed(2_000).events])
    stopped = worker().start()
    assert stopped.process is not None
    with publish_in_background(trial, engine, load, seconds=20):
        wait_for(lambda: int(str(scalar(engine, "select count(*) from trials"))) > 100, "the work to start")
        os.kill(stopped.process.pid, signal.SIGSTOP)
        other = worker().start()
    assert_each_done_once(engine, streams, load)
    os.kill(stopped.process.pid, signal.SIGCONT)
    process = stopped.process
    wait_for(lambda: stopped.page("/health/ready")[0] == 200 or process.poll() is not None, "it to rejoin or end")
    assert_each_done_once(engine, streams, load)
    if process.poll() is None:
        stop_cleanly(stopped)
    stop_cleanly(other)
