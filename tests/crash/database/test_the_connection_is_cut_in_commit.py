"""The connection is cut at every fifteenth COMMIT: before the server receives it, or before the client gets the answer.

Expected: in both cases each event has one effect, and the cut costs no attempt.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, publish_in_background
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.proxies.commit_cutter import cut_commits
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
CUTS = 40


@pytest.mark.requirement("Faults and operations", "a connection cut during COMMIT, both protocols")
@pytest.mark.timeout(300)
@both_protocols
def test_a_lost_commit_and_a_lost_answer_leave_one_effect(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams, database_url: str
) -> None:
    load = mixed(2_000)
    with cut_commits(database_url, every=15) as (cutter, url):
        one = worker(STREAMS_DATABASE_URL=url).start()
        with publish_in_background(trial, engine, load, seconds=20):
            pass
        assert_each_done_once(engine, streams, load, seconds=150)
        cutter.active = False
        assert cutter.unsent + cutter.unanswered > CUTS
        assert_attempts(engine, load)
        stop_cleanly(one)
