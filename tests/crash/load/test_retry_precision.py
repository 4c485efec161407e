"""Retries are never early, and hardly late on an idle worker."""

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
DONE = "select count(*) from streams.executions where status = 'success'"
LATENESS = """
    select extract(epoch from t.at - (e.history->0->>'completed_at')::timestamptz)::float - :wait as late
    from trials as t join streams.executions as e using (event_id) where t.attempt = 2 order by 1
"""
"""Seconds from the due time to the effect of the second attempt. The wait starts at the end of the first one."""


def ask_later(count: int, seconds: float) -> list[SingleTrialRequested]:
    return [SingleTrialRequested(entity=f"e{number}", plan="ask", seconds=seconds, times=1) for number in range(count)]


def lateness(engine: Engine, wait: float) -> list[float]:
    """Return the lateness of each second attempt in seconds, in ascending order."""
    return [float(str(row["late"])) for row in rows(engine, LATENESS, wait=wait)]


@pytest.mark.requirement("Faults and operations", "retry precision on an idle worker and over restarts")
def test_none_is_early_or_a_second_late(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    """Thirty retries, ten at a time, while other tests use the machine."""
    worker().start()
    retry_in_turns(trial, engine, turns=3, wait=0.7)
    late = lateness(engine, 0.7)
    assert len(late) == 30
    assert late[0] >= 0
    assert late[-2] <= 1, late[20:]


def retry_in_turns(settings: Settings, engine: Engine, *, turns: int, wait: float) -> None:
    """Run ten retries per turn; the next turn starts when they are done."""
    for turn in range(1, turns + 1):
        publish(settings, ask_later(10, wait))
        wait_for(partial(all_done, engine, 10 * turn), "the retries")


def all_done(engine: Engine, count: int) -> bool:
    """Return whether `count` executions have succeeded."""
    return scalar(engine, DONE) == count


@pytest.mark.requirement("Faults and operations", "retry precision on an idle worker and over restarts")
def test_a_restart_makes_none_early(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    """One worker runs the first attempts and ends; the retries wait in their tier; the next worker runs them."""
    publish(trial, ask_later(20, 6.0))
    first = worker().start()
    wait_for(lambda: attempted(engine) == 20, "the first attempts")
    assert first.stop() == 0
    worker().start()
    wait_for(partial(all_done, engine, 20), "the retries", 60)
    assert lateness(engine, 6.0)[0] >= 0


def attempted(engine: Engine) -> object:
    """Return the number of executions with at least one attempt, in any status."""
    return scalar(engine, "select count(*) from streams.executions where attempts > 0 and status <> 'started'")
