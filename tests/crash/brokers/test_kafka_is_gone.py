"""Kafka's only broker ends by SIGKILL, stays away for a minute, and comes back with its data.

Expected: the worker lives on, events that are committed meanwhile wait in the outbox, retries wait for their record's
acknowledgement; each event has its effect once, and no attempt is burned.
"""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, published_beside
from tests.support.faults.server_faults import kill_server, restore
from tests.support.processes.worker_process import Streams, WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
GONE = 60.0
"""Seconds."""


@pytest.mark.timeout(420)
@both_protocols
def test_everything_waits_for_it(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    load = mixed(4_000)
    one = worker().start()
    with published_beside(trial, engine, load, seconds=40):
        wait_for(lambda: int(str(scalar(engine, "select count(*) from trials"))) > 300, "the work to be under way")
        kill_server(stack, "kafka")
        time.sleep(GONE)
        restore(stack)
    settle_accounts(engine, streams, load)
    attempts_are_counted(engine, load)
    leave_in_order(one)
