"""The crash suite's faults in short: what `make crash` does for minutes, with the same check at the end.

Expected of each: every event has its effect once, no attempt is burned, nothing waits, nothing is left running.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack, make_template
from tests.support.cli import Commands
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, settle_accounts
from tests.support.faults.load import mixed, published_beside
from tests.support.faults.server_faults import pid_of, restore
from tests.support.processes.worker_process import WorkerProcess, scalar, wait_for
from tests.support.proxies.commit_cutter import cutting
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


@pytest.fixture(scope="session")
def stack(breakable_stack: Stack) -> Stack:
    """One of these tests restarts its database."""
    return breakable_stack


@pytest.fixture(scope="session")
def template(stack: Stack) -> str:
    """On this stack's server."""
    return make_template(stack)


def half_done(engine: Engine, count: int) -> bool:
    """Whether the work is well under way."""
    return int(str(scalar(engine, "select count(*) from trials"))) > count // 4


@pytest.mark.timeout(200)
def test_killed_workers(trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands) -> None:
    load = mixed(400)
    one = worker().start()
    with published_beside(trial, engine, load, seconds=2):
        wait_for(lambda: half_done(engine, len(load.events)), "the work to be under way")
        one.kill()
        other = worker().start()
    settle_accounts(engine, commands, load, seconds=90)
    attempts_are_counted(engine, load)
    leave_in_order(other)


@pytest.mark.timeout(200)
def test_a_restarted_database(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    load = mixed(400)
    one = worker().start()
    with published_beside(trial, engine, load, seconds=2):
        wait_for(lambda: half_done(engine, len(load.events)), "the work to be under way")
        os.kill(pid_of(stack, "postgres"), signal.SIGINT)
        time.sleep(1)
        restore(stack)
    settle_accounts(engine, commands, load, seconds=90)
    attempts_are_counted(engine, load)
    leave_in_order(one)


@pytest.mark.timeout(200)
def test_connections_cut_in_commit(
    trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands, database_url: str
) -> None:
    load = mixed(150)
    with cutting(database_url, every=10) as (cutter, url):
        one = worker(STREAMS_DATABASE_URL=url).start()
        with published_beside(trial, engine, load, seconds=2):
            pass
        settle_accounts(engine, commands, load, seconds=150)
        cutter.active = False
        assert cutter.unsent > 1
        assert cutter.unanswered > 1
        attempts_are_counted(engine, load)
        leave_in_order(one)
