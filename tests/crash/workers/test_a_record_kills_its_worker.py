"""A record whose handler ends the process by SIGKILL every time, among others that are fine.

Expected: no attempt is ever counted, yet the worker that comes back again and again finds the culprit: it alone is a
dead letter, `crashed`; every other event has its effect once; a worker then runs on, and nothing is left behind.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, Trial
from tests.support.faults.group_protocols import both_protocols
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
DEATHS = 4
"""Two starts until the third is careful, then two runs alone."""


@both_protocols
@pytest.mark.parametrize("kind", [SingleTrialRequested, BatchTrialRequested])
def test_the_culprit_dies_and_its_neighbours_do_not(
    trial: Settings, engine: Engine, worker: MakeWorker, kind: type[Trial]
) -> None:
    events = [kind(entity=f"e{number}") for number in range(40)]
    culprit = kind(entity="e7", plan="kill")
    publish(trial, [*events[:20], culprit, *events[20:]])
    for _ in range(DEATHS):
        dying = worker().start(ready=False)
        assert dying.wait(60) == -9
    last = worker().start()
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions") == len(events) + 1, "the end", 90)
    assert rows(engine, "select event_id, reason from streams.executions where status <> 'success'") == [
        {"event_id": culprit.event_id, "reason": "crashed"}
    ]
    assert scalar(engine, "select count(*) from streams.dead_letters") == 1
    effects = rows(engine, "select event_id from trials where handler in ('try-single', 'try-batch')")
    assert sorted(str(row["event_id"]) for row in effects) == sorted(str(event.event_id) for event in events)
    assert scalar(engine, "select count(*) from streams.suspects") == 0
    assert last.process is not None
    own = f"select count(*) from streams.partition_starts where split_part(worker, ':', 2) = '{last.process.pid}'"
    assert last.stop() == 0
    # Those of the killed stay until their partition brings a record again; they mean nothing then.
    assert scalar(engine, own) == 0


def test_a_long_delivery_that_kills_its_worker_three_times_is_a_dead_letter(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """Each time the lease runs out and the sweep of the next worker hands it on; the third time it dies, `crashed`."""
    publish(trial, [LongTrialRequested(entity="e", plan="kill", times=9)])
    for _ in range(3):
        one = worker().start(ready=False)
        assert one.wait(60) == -9
    worker().start()
    ended = "select count(*) from streams.executions where status in ('success', 'failure')"
    wait_for(lambda: scalar(engine, ended) == 1, "death")
    (row,) = rows(engine, "select status, reason, lost_leases from streams.executions")
    assert row == {"status": "failure", "reason": "crashed", "lost_leases": 3}
    assert scalar(engine, "select reason from streams.dead_letters") == "crashed"
