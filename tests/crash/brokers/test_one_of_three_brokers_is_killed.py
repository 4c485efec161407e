"""One of three brokers is killed under load and restarted; then another one.

Expected: the other brokers continue with two in-sync replicas of every record. Each event has one effect, and the
outages cost no attempt.
"""

import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack, make_template, running_stack
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, publish_in_background
from tests.support.faults.server_faults import kill_server, restore
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
OUTAGE = 12.0
"""Seconds that a broker is down."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start three brokers, PostgreSQL and Redis. They stop after this module, to free the machine for other tests."""
    with running_stack(tmp_path_factory.mktemp("three"), brokers=3) as stack:
        yield stack


@pytest.fixture(scope="module")
def template(stack: Stack) -> str:
    """Create the template database on the server of this stack."""
    return make_template(stack)


@pytest.mark.requirement("Faults and operations", "one of three brokers killed and brought back, both protocols")
@pytest.mark.timeout(420)
@both_protocols
def test_the_other_brokers_continue(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    load = mixed(4_000)
    one = worker().start()
    with publish_in_background(trial, engine, load, seconds=50):
        for name in ("kafka-2", "kafka-1"):
            time.sleep(3)
            kill_server(stack, name)
            time.sleep(OUTAGE)
            restore(stack)
    assert_each_done_once(engine, streams, load)
    assert_attempts(engine, load)
    stop_cleanly(one)
