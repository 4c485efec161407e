"""Of the worker's COMMITs each fifteenth is cut off: before the server sees it, or after it without an answer.

Expected: whichever it was, each event has its effect once, and no attempt is burned.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, published_beside
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.proxies.commit_cutter import cutting
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
CUTS = 40


@pytest.mark.timeout(300)
@both_protocols
def test_whichever_it_was_the_effect_is_there_once(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams, database_url: str
) -> None:
    load = mixed(2_000)
    with cutting(database_url, every=15) as (cutter, url):
        one = worker(STREAMS_DATABASE_URL=url).start()
        with published_beside(trial, engine, load, seconds=20):
            pass
        settle_accounts(engine, streams, load, seconds=150)
        cutter.active = False
        assert cutter.unsent + cutter.unanswered > CUTS
        attempts_are_counted(engine, load)
        leave_in_order(one)
