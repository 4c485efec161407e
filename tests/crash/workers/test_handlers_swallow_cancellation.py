"""Some handlers catch every cancellation and continue far past their hard limit; the others are ordinary.

Expected: the late attempts are fenced and their transactions ended, so each event has one effect, from its second
attempt. Ordinary events continue meanwhile. The worker stops in time although the handlers still run.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.faults.assertions import assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load, mixed, publish_in_background
from tests.support.processes.worker_process import Streams, WorkerProcess, scalar
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
STUBBORN = 12


@pytest.mark.requirement("Faults and operations", "a handler that swallows cancellation, both protocols")
@both_protocols
def test_each_event_has_one_effect(trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    stubborn = [
        SingleTrialRequested(entity=f"stubborn{number}", plan="swallow", seconds=40, times=1)
        for number in range(STUBBORN)
    ]
    load = Load([*stubborn, *mixed(1_000).events])
    one = worker().start()
    with publish_in_background(trial, engine, load, seconds=5):
        pass
    assert_each_done_once(engine, streams, load, seconds=60)
    assert scalar(engine, "select count(*) from trials where entity like 'stubborn%' and attempt = 2") == STUBBORN
    stop_cleanly(one)
