"""The worker is killed; Kafka, PostgreSQL and Redis are stopped and started again.

Expected: scheduled events have one effect each, whether they became due during the restart or later, and none is early.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from streams.codec import build_codec
from streams.local.stack import LocalStack
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.integration.conftest import Stack
from tests.support.apps.trials import SingleTrialRequested
from tests.support.faults.assertions import stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.processes.worker_process import WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


@pytest.mark.requirement(
    "Events for later",
    "surviving everything: all servers and workers are stopped and started again",
)
@pytest.mark.timeout(300)
@both_protocols
def test_scheduled_events_are_handled_at_their_time(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    codec = build_codec(trial, load_catalogue(trial))
    first = worker().start()
    now = datetime.now(tz=UTC)
    with Session(engine) as session, session.begin():
        for number in range(20):
            event = SingleTrialRequested(entity=str(number))
            Outbox(session, codec).publish(event, now + timedelta(seconds=5 if number % 2 else 40))
    first.kill()
    local = LocalStack(stack.folder)
    local.down()
    local.up()
    assert scalar(engine, "select count(*) from streams.outbox") == 20
    wait_for(lambda: datetime.now(tz=UTC) > now + timedelta(seconds=5), "the first ones to be overdue")
    with engine.begin() as connection:
        connection.exec_driver_sql("update streams.outbox set due_at = now() + interval '4 s' where due_at > now()")
        soon = connection.exec_driver_sql("select max(due_at) from streams.outbox").scalar_one()
    second = worker().start()
    wait_for(lambda: scalar(engine, "select count(*) from trials") == 20, "all effects")
    assert scalar(engine, "select count(distinct entity) from trials") == 20
    early = "select count(*) from trials where entity::int % 2 = 0 and at < :soon"
    assert scalar(engine, early, soon=soon) == 0
    stop_cleanly(second)
