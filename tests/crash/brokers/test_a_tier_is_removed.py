"""A tier leaves the settings while records wait in it.

Expected: workers with the new settings read it on until it is empty: what waits there is done, not before it is due,
and `topics apply --prune` removes the topic when nothing waits in it, not sooner.
"""

import time
from collections.abc import Callable

from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.faults.accounting import leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load
from tests.support.processes.worker_process import Streams, WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
WAIT = 15.0
"""Seconds that the events ask for; the tier that is removed holds them for four of them."""
WAITING = 50


@both_protocols
def test_what_waits_in_it_is_done_in_time(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams, environment: dict[str, str]
) -> None:
    load = Load(
        [SingleTrialRequested(entity=f"e{number}", plan="ask", seconds=WAIT, times=1) for number in range(WAITING)]
    )
    first = worker().start()
    publish(trial, load.events)
    asked = time.time()
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions where status = 'retry'") == WAITING, "all")
    leave_in_order(first)
    fewer = {"STREAMS_RETRY_DELAYS": "0s,1s"}
    tier = f"{trial.topic_prefix}{trial.application}.default.retry.4s"
    pruning = Streams({**environment, **fewer})
    assert f"kept {tier}: records wait in it" in pruning.run("topics", "apply", "--prune").stdout
    second = worker(**fewer).start()
    settle_accounts(engine, streams, load)
    wait_for(lambda: f"removed {tier}" in pruning.run("topics", "apply", "--prune").stdout, "the tier to be empty")
    more = Load([SingleTrialRequested(entity="after", plan="fail", times=1)])
    publish(trial, more.events)
    settle_accounts(engine, pruning, Load([*load.events, *more.events]))
    early = rows(engine, "select at from trials where extract(epoch from at) < :due", due=asked + WAIT - 1)
    assert early == []
    leave_in_order(second)
