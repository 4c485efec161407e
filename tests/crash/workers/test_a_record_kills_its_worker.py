"""The handler of one record kills its process every time; the other records are fine.

Expected: no attempt is counted, but the restarted workers identify the record. Only this record becomes a dead letter,
`crashed`. Every other event has one effect. Then a worker keeps running, and no row is left over.
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
CRASHES = 4
"""Two starts with normal concurrency, then two in which the record runs alone."""


@pytest.mark.requirement("Faults and operations", "a record that kills its process every time, both protocols")
@both_protocols
@pytest.mark.parametrize("kind", [SingleTrialRequested, BatchTrialRequested])
def test_only_the_record_that_kills_its_worker_is_a_dead_letter(
    trial: Settings, engine: Engine, worker: MakeWorker, kind: type[Trial]
) -> None:
    events = [kind(entity=f"e{number}") for number in range(40)]
    poison = kind(entity="e7", plan="kill")
    publish(trial, [*events[:20], poison, *events[20:]])
    for _ in range(CRASHES):
        dying = worker().start(ready=False)
        assert dying.wait(60) == -9
    last = worker().start()
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions") == len(events) + 1, "the end", 90)
    assert rows(engine, "select event_id, reason from streams.executions where status <> 'success'") == [
        {"event_id": poison.event_id, "reason": "crashed"}
    ]
    assert scalar(engine, "select count(*) from streams.dead_letters") == 1
    effects = rows(engine, "select event_id from trials where handler in ('try-single', 'try-batch')")
    assert sorted(str(row["event_id"]) for row in effects) == sorted(str(event.event_id) for event in events)
    # The row of the last suspect is deleted after its offset is settled.
    wait_for(lambda: scalar(engine, "select count(*) from streams.suspects") == 0, "no suspect is left")
    assert last.process is not None
    own = f"select count(*) from streams.partition_starts where split_part(worker, ':', 2) = '{last.process.pid}'"
    assert last.stop() == 0
    # Rows of killed workers stay until a record of their partition arrives, and have no effect.
    assert scalar(engine, own) == 0


@pytest.mark.requirement("Faults of others", "R3: an orderly end after a failure counts as a crash")
def test_a_record_that_ends_its_worker_in_order_is_a_dead_letter(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """SystemExit out of the event loop: the consumers leave their groups, and the partitions are revoked."""
    events = [SingleTrialRequested(entity=f"e{number}") for number in range(10)]
    poison = SingleTrialRequested(entity="e3", plan="end")
    publish(trial, [*events[:5], poison, *events[5:]])
    for _ in range(CRASHES):
        ending = worker().start(ready=False)
        assert ending.wait(60) not in {0, -9}
    last = worker().start()
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions") == len(events) + 1, "the end", 90)
    assert rows(engine, "select event_id, reason from streams.executions where status <> 'success'") == [
        {"event_id": poison.event_id, "reason": "crashed"}
    ]
    assert last.stop() == 0


@pytest.mark.requirement("Delivery", "what kills its worker three times is a dead letter")
def test_a_long_delivery_that_kills_its_worker_three_times_is_a_dead_letter(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """Each time the lease expires and the lease sweep of the next worker takes over. Then it is `crashed`."""
    publish(trial, [LongTrialRequested(entity="e", plan="kill", times=9)])
    for _ in range(3):
        one = worker().start(ready=False)
        assert one.wait(60) == -9
    worker().start()
    ended = "select count(*) from streams.executions where status in ('success', 'failure')"
    wait_for(lambda: scalar(engine, ended) == 1, "the dead letter")
    (row,) = rows(engine, "select status, reason, lost_leases from streams.executions")
    assert row == {"status": "failure", "reason": "crashed", "lost_leases": 3}
    assert scalar(engine, "select reason from streams.dead_letters") == "crashed"
