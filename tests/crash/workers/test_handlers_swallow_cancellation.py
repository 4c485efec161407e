"""Handlers that catch every cancellation and work on, far past their hard limit, among ordinary ones.

Expected: their attempts are fenced and their transactions ended, so each event has its effect once, by its second
attempt; the ordinary events go on meanwhile; the worker ends in time though they still run.
"""

from collections.abc import Callable

from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.faults.accounting import leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load, mixed, published_beside
from tests.support.processes.worker_process import Streams, WorkerProcess, scalar
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
STUBBORN = 12


@both_protocols
def test_their_effects_are_there_once(trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    stubborn = [
        SingleTrialRequested(entity=f"stubborn{number}", plan="swallow", seconds=40, times=1)
        for number in range(STUBBORN)
    ]
    load = Load([*stubborn, *mixed(1_000).events])
    one = worker().start()
    with published_beside(trial, engine, load, seconds=5):
        pass
    settle_accounts(engine, streams, load, seconds=60)
    assert scalar(engine, "select count(*) from trials where entity like 'stubborn%' and attempt = 2") == STUBBORN
    leave_in_order(one)
