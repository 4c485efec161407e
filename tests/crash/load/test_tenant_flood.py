"""One tenant publishes 5,000 events, half of them to one partition. Then another tenant publishes one per partition.

Expected: the later events are handled within 5 s, while thousands still wait. The events that were moved to a tier are
neither lost nor handled twice, and the move costs no attempt.
"""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
FLOOD = 5_000
SINGLES = 8
"""Enough for one on each partition, very likely."""
PATIENCE = 300.0


@pytest.mark.requirement(
    "Delivery",
    "a flooding tenant is moved aside: another's work, published after 5,000, is done within 5 s",
)
@pytest.mark.requirement("Faults and operations", "a tenant that floods is moved aside")
def test_another_tenant_s_work_is_done_within_five_seconds(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    flood = [
        SingleTrialRequested(entity="one-partition", tenant_id="big", plan="sleep", seconds=0.02)
        for _ in range(FLOOD // 2)
    ]
    spread = [
        SingleTrialRequested(entity=f"e{number}", tenant_id="big", plan="sleep", seconds=0.02)
        for number in range(FLOOD // 2)
    ]
    publish(trial, [event for pair in zip(flood, spread, strict=True) for event in pair])
    worker().start()
    wait_for(lambda: scalar(engine, "select count(*) from trials") > 50, "the worker to be busy", PATIENCE)  # type: ignore[operator]  # a count
    singles = [SingleTrialRequested(entity=f"small{number}", tenant_id="small") for number in range(SINGLES)]
    began = time.monotonic()
    publish(trial, singles)
    wait_for(
        lambda: scalar(engine, "select count(*) from trials where entity like 'small%'") == SINGLES,
        "the other tenant's events",
    )
    took = time.monotonic() - began
    waiting = FLOOD + SINGLES - int(str(scalar(engine, "select count(*) from trials")))
    assert took < 5, f"{took:.1f} s"
    assert waiting > FLOOD // 4, "the flood ended too early for this test"
    wait_for(
        lambda: scalar(engine, "select count(*) from streams.executions where status = 'success'") == FLOOD + SINGLES,
        "the end of the flood",
        PATIENCE,
    )
    found = rows(engine, "select count(*) as effects, count(distinct event_id) as events, max(attempt) from trials")
    assert found == [{"effects": FLOOD + SINGLES, "events": FLOOD + SINGLES, "max": 1}]
