"""A real worker checks the pipeline: a dead letter becomes a mail and a request to the webhook, once."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from schemas import AccountDeletionRequested, DeadLetterCheckRequested, QueueCheckRequested
from streams.settings import Settings
from tests.support.alerts.receivers import alert_receivers
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for

SETTLED = "select count(*) from streams.executions where handler like 'check-%' and status = 'success'"


@pytest.mark.requirement("Schedules", "dead-letters: the first one of a handler and a type of error is an alert")
def test_a_dead_letter_is_told_once(topics: Settings, engine: Engine, worker: Callable[..., WorkerProcess]) -> None:
    """Each check runs three times. The mails name the handler and the DLQ, and what was told is not repeated."""
    with alert_receivers() as (mails, webhook, receivers):
        one = worker(**receivers).start()
        publish(topics, [AccountDeletionRequested(account_id="nobody")])
        wait_for(lambda: scalar(engine, "select count(*) from streams.dead_letters") == 1, "a dead letter", 30)
        for number in range(3):
            publish(topics, [DeadLetterCheckRequested(), QueueCheckRequested()])
            wait_for(lambda: scalar(engine, SETTLED) == 2 * number + 2, "both checks", 30)  # noqa: B023 - waited for
        wait_for(lambda: len(mails.received) == 2, "both mails", 30)
        assert one.stop() == 0
        posted = Counter(str(asked.body["name"]) for asked in webhook.requests)
    dlq = rows(engine, "select dlq_topic from streams.dead_letters")[0]["dlq_topic"]
    expected = {"handler-error:delete-account:streams.delivery.Permanent": 1, f"dead-letters:{dlq}": 1}
    assert posted == expected
    text = " ".join(mail.part("plain") for mail in mails.received)
    assert all(text.count(name) == 1 for name in expected), json.dumps(text)
