"""A hundred thousand hostile records with three seeds, on one worker, from a sender's bytes to settled offsets.

Expected: as in the short version, and the figures are printed.
"""

import sys
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.assertions import stop_cleanly
from tests.support.hostile.scenario import run_hostile_records
from tests.support.processes.worker_process import WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]


@pytest.mark.requirement("Faults of others", "hostile records of every kind: 100,000 with three seeds")
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_hostile_records_of_three_seeds_stop_nothing(
    seed: int, trial: Settings, engine: Engine, worker: Callable[..., WorkerProcess]
) -> None:
    one = worker().start()
    found = run_hostile_records(trial, engine, one, count=35_000, seed=seed, patience=1_200)
    sys.stdout.write(f"seed {seed}: {found}\n")
    stop_cleanly(one)
