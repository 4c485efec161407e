"""Retries on a worker that has nothing else to do, on a machine that has nothing else to do either.

Expected: of two hundred none is early, and all but one in a hundred at most 250 ms late.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.driving import WorkerProcess
from tests.integration.test_retry_precision import lateness, retry_in_turns
from tests.integration.trial_run import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("wait", [0.7, 3.3])
def test_the_99th_percentile_is_a_quarter_of_a_second(
    trial: Settings, engine: Engine, worker: MakeWorker, wait: float
) -> None:
    worker().start()
    retry_in_turns(trial, engine, turns=20, wait=wait)
    late = lateness(engine, wait)
    assert len(late) == 200
    assert late[0] >= 0
    assert late[197] <= 0.25, late[190:]
