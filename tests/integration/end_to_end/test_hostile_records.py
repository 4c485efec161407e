"""A short version of the hostile records of `make crash`: fifteen hundred of all kinds, on one worker.

Expected: the worker does not end. Every record has an execution or a dead letter, every valid event between them
succeeds, the offsets move to the end, and the memory stays bounded.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.assertions import stop_cleanly
from tests.support.hostile.scenario import run_hostile_records
from tests.support.processes.worker_process import WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]


@pytest.mark.requirement("Faults of others", "hostile records of every kind: the worker takes all of them")
@pytest.mark.timeout(240)
def test_hostile_records_stop_nothing(trial: Settings, engine: Engine, worker: Callable[..., WorkerProcess]) -> None:
    one = worker(preloaded=False).start()  # its memory is watched
    found = run_hostile_records(trial, engine, one, count=1_500, seed=1, patience=90)
    assert found.dead > found.valid > 0
    stop_cleanly(one)
