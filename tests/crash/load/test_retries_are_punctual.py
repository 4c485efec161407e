"""Retries on a worker that has nothing else to do, on a machine that has nothing else to do either.

Expected: of two hundred none is early, and all but one in a hundred at most 250 ms late. And while they wait, one
worker ends and the next is killed: the third, which gets its partitions after 10 s, runs none early.
"""

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.delivery.test_retry_precision import all_done, ask_later, attempted, lateness, retry_in_turns
from tests.support.processes.worker_process import WorkerProcess, publish, wait_for
from tests.support.trial_fixtures import environment, trial

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


@pytest.mark.timeout(240)
def test_ends_and_kills_make_none_early(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
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
