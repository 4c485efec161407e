"""One of three brokers ends by SIGKILL under load and comes back; then another.

Expected: the others go on meanwhile, with two copies of every record in sync; each event has its effect once, and no
attempt is burned.
"""

import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack, make_template, running_stack
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, published_beside
from tests.support.faults.server_faults import kill_server, restore
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
ABSENCE = 12.0
"""Seconds that a broker is away."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Three brokers; PostgreSQL and Redis beside them. Gone after these scenarios: others are to have the machine."""
    with running_stack(tmp_path_factory.mktemp("three"), brokers=3) as stack:
        yield stack


@pytest.fixture(scope="module")
def template(stack: Stack) -> str:
    """On this stack's server."""
    return make_template(stack)


@pytest.mark.timeout(420)
@both_protocols
def test_the_others_go_on(stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams) -> None:
    load = mixed(4_000)
    one = worker().start()
    with published_beside(trial, engine, load, seconds=50):
        for name in ("kafka-2", "kafka-1"):
            time.sleep(3)
            kill_server(stack, name)
            time.sleep(ABSENCE)
            restore(stack)
    settle_accounts(engine, streams, load)
    attempts_are_counted(engine, load)
    leave_in_order(one)
