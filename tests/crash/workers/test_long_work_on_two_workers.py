"""Long work on two workers: two events on one leased resource, and a worker that stops.

Expected: the two events run one after the other. The work of a stopped worker continues on the other one, and the stop
costs no attempt.
"""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import LongTrialRequested
from tests.support.faults.assertions import LEASES
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
ENDED = "select count(*) from streams.executions where status in ('success', 'failure')"
EFFECTS = "select handler from trials order by id"


def effects(engine: Engine) -> list[object]:
    """Return the handlers that have written a row, in order."""
    return [row["handler"] for row in rows(engine, EFFECTS)]


@pytest.mark.requirement("Delivery", "one resource, one long delivery at a time")
def test_two_long_events_on_one_resource_run_one_after_the_other(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """The second event finds the resource leased, is deferred without an attempt, and runs after the first one."""
    same = [LongTrialRequested(entity="same", plan="sleep", seconds=1.5) for _ in range(2)]
    publish(trial, same[:1])
    first = worker().start()
    wait_for(lambda: scalar(engine, LEASES) == 1, "the first claim")
    publish(trial, same[1:])
    worker().start()
    wait_for(lambda: scalar(engine, ENDED) == 2, "both")
    assert effects(engine) == ["try-long: began", "try-long", "try-long: began", "try-long"]
    assert {row["attempts"] for row in rows(engine, "select attempts from streams.executions")} == {1}
    assert first.stop() == 0


@pytest.mark.requirement("Delivery", "SIGTERM gives leases back")
def test_after_sigterm_another_worker_finishes_the_long_work(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """The stopped worker ends in time with code 0. The stop costs no attempt, and there is one effect."""
    publish(trial, [LongTrialRequested(entity="e", plan="sleep", seconds=8, times=1)])
    first = worker(STREAMS_DRAIN_TIMEOUT="5s").start()
    wait_for(lambda: effects(engine) == ["try-long: began"], "the first step")
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 15
    worker().start()
    wait_for(lambda: scalar(engine, ENDED) == 1, "the end")
    (row,) = rows(engine, "select status, attempts, lost_leases from streams.executions")
    assert row == {"status": "success", "attempts": 1, "lost_leases": 0}
    assert effects(engine).count("try-long") == 1
