"""Kafka's only broker is killed, stays down for a minute, and restarts with its data.

Expected: the worker keeps running. Events that are committed meanwhile wait in the outbox, and retries wait for the
acknowledgement of their record. Each event has one effect, and the outage costs no attempt.
"""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, publish_in_background
from tests.support.faults.server_faults import kill_server, restore
from tests.support.processes.worker_process import Streams, WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
OUTAGE = 60.0
"""Seconds."""


@pytest.mark.requirement("Faults and operations", "Kafka gone for a minute, both protocols")
@pytest.mark.timeout(420)
@both_protocols
def test_all_work_waits_for_kafka(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    load = mixed(4_000)
    one = worker().start()
    with publish_in_background(trial, engine, load, seconds=40):
        wait_for(lambda: int(str(scalar(engine, "select count(*) from trials"))) > 300, "the work to start")
        kill_server(stack, "kafka")
        time.sleep(OUTAGE)
        restore(stack)
    assert_each_done_once(engine, streams, load)
    assert_attempts(engine, load)
    stop_cleanly(one)
