"""A worker is stopped by SIGSTOP in the middle of its work, longer than its session lasts, and wakes again.

Expected: another worker takes its partitions and leases over; what the frozen one still does when it wakes is fenced:
each effect is there once. It comes back as a member, or ends and says why.
"""

import os
import signal
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import LongTrialRequested, SingleTrialRequested
from tests.support.faults.accounting import leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load, mixed, published_beside
from tests.support.processes.worker_process import Streams, WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


@pytest.mark.timeout(300)
@both_protocols
def test_what_it_does_when_it_wakes_does_not_count(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    held = [SingleTrialRequested(entity=f"held{number}", plan="sleep", seconds=0.8) for number in range(40)]
    long = [LongTrialRequested(entity=f"long{number}", plan="sleep", seconds=2) for number in range(8)]
    load = Load([*held, *long, *mixed(2_000).events])
    frozen = worker().start()
    assert frozen.process is not None
    with published_beside(trial, engine, load, seconds=20):
        wait_for(lambda: int(str(scalar(engine, "select count(*) from trials"))) > 100, "the work to be under way")
        os.kill(frozen.process.pid, signal.SIGSTOP)
        other = worker().start()
    settle_accounts(engine, streams, load)
    os.kill(frozen.process.pid, signal.SIGCONT)
    process = frozen.process
    wait_for(lambda: frozen.page("/health/ready")[0] == 200 or process.poll() is not None, "it to come round")
    settle_accounts(engine, streams, load)
    if process.poll() is None:
        leave_in_order(frozen)
    leave_in_order(other)
