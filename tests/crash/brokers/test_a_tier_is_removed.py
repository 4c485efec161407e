"""A retry tier is removed from the settings while records wait in it.

Expected: workers with the new settings read the tier until it is empty, and handle its records when they are due, not
earlier. `topics apply --prune` deletes the topic once it is empty, not earlier.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.faults.assertions import assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load
from tests.support.processes.worker_process import Streams, WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
WAIT = 15.0
"""Seconds until the retry that the handler asks for. The removed tier has a delay of four seconds."""
WAITING = 50


@pytest.mark.requirement(
    "Faults and operations",
    "a tier removed from the settings while records wait in it, both protocols; `topics apply --prune`",
)
@both_protocols
def test_records_of_a_removed_tier_are_handled_when_due(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams, environment: dict[str, str]
) -> None:
    load = Load(
        [SingleTrialRequested(entity=f"e{number}", plan="ask", seconds=WAIT, times=1) for number in range(WAITING)]
    )
    first = worker().start()
    publish(trial, load.events)
    began = time.time()
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions where status = 'retry'") == WAITING, "all")
    stop_cleanly(first)
    fewer = {"STREAMS_RETRY_DELAYS": "0s,1s"}
    tier = f"{trial.topic_prefix}{trial.application}.default.retry.4s"
    pruning = Streams({**environment, **fewer})
    assert _prune(pruning)["kept"] == [tier]
    second = worker(**fewer).start()
    assert_each_done_once(engine, streams, load)
    wait_for(lambda: (tier, "removed") in _changes(_prune(pruning)), "the tier to be empty")
    later = Load([SingleTrialRequested(entity="after", plan="fail", times=1)])
    publish(trial, later.events)
    assert_each_done_once(engine, pruning, Load([*load.events, *later.events]))
    early = rows(engine, "select at from trials where extract(epoch from at) < :due", due=began + WAIT - 1)
    assert early == []
    stop_cleanly(second)


def _prune(streams: Streams) -> dict[str, Any]:
    return dict(json.loads(streams.run("topics", "apply", "--prune", "--json").stdout))


def _changes(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(change["topic"], change["change"]) for change in answer["changes"]}
