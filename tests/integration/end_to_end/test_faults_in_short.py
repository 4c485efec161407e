"""Short versions of crash tests that take minutes in `make crash`, with the same checks at the end.

Expected: every event has one effect, the fault costs no attempt, and no work and no process is left over.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.cli import Commands
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.load import mixed, publish_in_background
from tests.support.faults.server_faults import pid_of, restore
from tests.support.local_stack.breakable import stack, template
from tests.support.processes.worker_process import WorkerProcess, scalar, wait_for
from tests.support.proxies.commit_cutter import cut_commits
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "stack", "template", "trial"]
MakeWorker = Callable[..., WorkerProcess]


def quarter_done(engine: Engine, count: int) -> bool:
    """Return whether more than a quarter of `count` effects are written."""
    return int(str(scalar(engine, "select count(*) from trials"))) > count // 4


@pytest.mark.requirement("Faults and operations", "a short version of the faults")
@pytest.mark.timeout(200)
def test_killed_workers(trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands) -> None:
    load = mixed(400)
    one = worker().start()
    with publish_in_background(trial, engine, load, seconds=2):
        wait_for(lambda: quarter_done(engine, len(load.events)), "the work to start")
        one.kill()
        other = worker().start()
    assert_each_done_once(engine, commands, load, seconds=90)
    assert_attempts(engine, load)
    stop_cleanly(other)


@pytest.mark.requirement("Faults and operations", "a short version of the faults")
@pytest.mark.timeout(200)
def test_a_restarted_database(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    load = mixed(400)
    one = worker().start()
    with publish_in_background(trial, engine, load, seconds=2):
        wait_for(lambda: quarter_done(engine, len(load.events)), "the work to start")
        os.kill(pid_of(stack, "postgres"), signal.SIGINT)
        time.sleep(1)
        restore(stack)
    assert_each_done_once(engine, commands, load, seconds=90)
    assert_attempts(engine, load)
    stop_cleanly(one)


@pytest.mark.requirement("Faults and operations", "a short version of the faults")
@pytest.mark.timeout(200)
def test_connections_cut_in_commit(
    trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands, database_url: str
) -> None:
    load = mixed(150)
    with cut_commits(database_url, every=10) as (cutter, url):
        one = worker(STREAMS_DATABASE_URL=url).start()
        with publish_in_background(trial, engine, load, seconds=2):
            pass
        assert_each_done_once(engine, commands, load, seconds=150)
        cutter.active = False
        assert cutter.unsent > 1
        assert cutter.unanswered > 1
        assert_attempts(engine, load)
        stop_cleanly(one)
