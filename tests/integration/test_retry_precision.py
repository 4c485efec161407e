"""When retries run: never early, and hardly late on a worker that has nothing else to do."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.apps.trials import SingleTrialRequested
from tests.integration.driving import WorkerProcess, publish, rows, scalar, wait_for
from tests.integration.trial_run import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
DONE = "select count(*) from streams.executions where status = 'success'"
LATENESS = """
    select extract(epoch from t.at - (e.history->0->>'completed_at')::timestamptz)::float - :wait as late
    from trials as t join streams.executions as e using (event_id) where t.attempt = 2 order by 1
"""
"""Seconds from the due time to the second attempt's effect; the first attempt's end begins the wait."""


def ask_later(count: int, seconds: float) -> list[SingleTrialRequested]:
    return [SingleTrialRequested(entity=f"e{number}", plan="ask", seconds=seconds, times=1) for number in range(count)]


def lateness(engine: Engine, wait: float) -> list[float]:
    """Of each second attempt, in ascending order."""
    return [float(str(row["late"])) for row in rows(engine, LATENESS, wait=wait)]


@pytest.mark.parametrize("wait", [0.7, 2.3])
def test_an_idle_worker_is_late_by_a_quarter_of_a_second_at_most(
    trial: Settings, engine: Engine, worker: MakeWorker, wait: float
) -> None:
    """Of a hundred retries, a few at a time: the second latest at most 250 ms, none early."""
    worker().start()
    for _ in range(10):
        before = int(str(scalar(engine, DONE)))
        publish(trial, ask_later(10, wait))
        wait_for(lambda before=before: scalar(engine, DONE) == before + 10, "the retries")  # type: ignore[misc]
    late = lateness(engine, wait)
    assert len(late) == 100
    assert late[0] >= 0
    assert late[98] <= 0.25, late[90:]


def test_a_restart_makes_none_early(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    """They wait while one worker ends, the next is killed and a third begins."""
    publish(trial, ask_later(60, 12.0))
    first = worker().start()
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions where status = 'retry'") == 60, "all")
    assert first.stop() == 0
    second = worker().start()
    second.kill()
    worker().start()
    wait_for(lambda: scalar(engine, DONE) == 60, "the retries", 60)
    late = lateness(engine, 12.0)
    assert late[0] >= 0
    assert late[-1] < 8, late[-1]
