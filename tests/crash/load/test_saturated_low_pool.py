"""The pool `low` has far more long work than slots, in the same process as `high`.

Expected: the median latency of `high`, from publish to commit, rises by less than 50 ms.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested
from tests.support.processes.worker_process import WorkerProcess, publish, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
SAMPLES = 40
SLOTS_OF_LOW = 4
SLACK = 0.05


@pytest.mark.requirement(
    "Delivery",
    "pools' own concurrency, prefetch and connections; `low` saturated leaves `high` as it was",
)
@pytest.mark.requirement("Faults and operations", "`low` saturated leaves `high`'s latency")
def test_the_latency_of_high_stays_the_same(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    worker().start()
    before = latency(trial, engine, "before")
    publish(trial, [LongTrialRequested(entity=f"e{number}", plan="sleep", seconds=15) for number in range(500)])
    began = "select count(*) from streams.executions where status = 'started'"
    wait_for(lambda: scalar(engine, began) == SLOTS_OF_LOW, "low to be full")
    during = latency(trial, engine, "during")
    assert scalar(engine, began) == SLOTS_OF_LOW
    assert during < before + SLACK, f"{before * 1000:.0f} ms before, {during * 1000:.0f} ms while low was full"


def latency(trial: Settings, engine: Engine, name: str) -> float:
    """Return the median seconds from publishing an event to its effect. The database runs on the same machine."""
    took = []
    for number in range(SAMPLES):
        event = BatchTrialRequested(entity=f"{name}{number}")
        began = time.time()
        publish(trial, [event])
        at = wait_for(partial(effect_at, engine, event.entity), "the effect")
        assert at is not None
        took.append(at - began)
    return median(took)


def effect_at(engine: Engine, entity: str) -> float | None:
    """Return when the effect was written, in seconds since the epoch."""
    at = scalar(engine, "select max(extract(epoch from at)) from trials where entity = :entity", entity=entity)
    return None if at is None else float(str(at))
