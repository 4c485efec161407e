"""The precision of retries on an idle worker and an idle machine.

Expected: of two hundred retries none is early, and 99 of 100 are at most 250 ms late. While retries wait, one worker
is stopped and the next is killed. The third worker gets its partitions after 10 s and runs no retry early.
"""

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.crash.load.test_retry_precision import all_done, ask_later, attempted, lateness, retry_in_turns
from tests.support.processes.worker_process import WorkerProcess, publish, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


@pytest.mark.requirement("Faults and operations", "retry precision on an idle worker and over restarts")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("wait", [0.7, 3.3])
def test_the_99th_percentile_of_lateness_is_at_most_250_ms(
    trial: Settings, engine: Engine, worker: MakeWorker, wait: float
) -> None:
    worker().start()
    retry_in_turns(trial, engine, turns=20, wait=wait)
    late = lateness(engine, wait)
    assert len(late) == 200
    assert late[0] >= 0
    assert late[197] <= 0.25, late[190:]


@pytest.mark.requirement("Faults and operations", "retry precision on an idle worker and over restarts")
@pytest.mark.timeout(240)
def test_no_retry_is_early_after_a_stop_and_a_kill(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    publish(trial, ask_later(60, 12.0))
    first = worker().start()
    wait_for(lambda: attempted(engine) == 60, "the first attempts")
    assert first.stop() == 0
    second = worker().start()
    second.kill()
    worker().start()
    wait_for(partial(all_done, engine, 60), "the retries", 90)
    late = lateness(engine, 12.0)
    assert late[0] >= 0
    assert late[-1] < 25, late[-1]
