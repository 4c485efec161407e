"""A DLQ topic is deleted while the worker runs and deliveries fail for good.

Expected: failed deliveries wait for the topic, and the log reports it. Other work continues. Once the topic exists
again, each failed delivery is a dead letter, once.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.apps.trials import SingleTrialRequested
from tests.support.faults.assertions import stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.kafka_records import end_offsets
from tests.support.local_stack.cluster import delete_topic
from tests.support.processes.worker_process import Streams, WorkerProcess, publish, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
DYING = 60
"""More than the pool has slots."""
SUCCEEDED = "select count(*) from streams.executions where status = 'success'"
FAILED = "select count(*) from streams.executions where status = 'failure'"


@pytest.mark.requirement("Faults and operations", "the DLQ topic missing, both protocols")
@pytest.mark.timeout(240)
@both_protocols
def test_dead_letters_wait_for_their_topic_and_other_work_continues(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    catalogue = load_catalogue(trial)
    topic = catalogue.of(SingleTrialRequested).name
    dlq = catalogue.dlq(topic)
    one = worker().start()
    publish(trial, [SingleTrialRequested(entity="first")])
    wait_for(lambda: scalar(engine, SUCCEEDED) == 1, "the worker to work")
    delete_topic(trial.kafka_bootstrap_servers, dlq)

    publish(trial, [SingleTrialRequested(entity=f"bad{number}", plan="permanent") for number in range(DYING)])
    wait_for(lambda: "record not acknowledged" in one.output(), "the log line")
    publish(trial, [SingleTrialRequested(entity=f"good{number}") for number in range(200)])
    publish(trial, [SingleTrialRequested(entity="once", plan="fail", times=1)])
    wait_for(lambda: scalar(engine, SUCCEEDED) == 202, "the other work", 60)
    assert scalar(engine, FAILED) == 0

    assert streams.run("topics", "apply").returncode == 0
    wait_for(lambda: scalar(engine, FAILED) == DYING, "the failed deliveries to settle", 60)
    assert scalar(engine, "select count(*) from streams.dead_letters") == DYING
    assert end_offsets(trial, dlq) == DYING
    stop_cleanly(one)
