"""A worker runs the schedule of these alerts, and nobody triggers a check. Then a handler has its first dead letter.

Expected: the mail and the request to the webhook about it come within a minute, once.
"""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from schemas import AccountDeletionRequested
from streams.settings import Settings
from tests.support.alerts.receivers import alert_receivers
from tests.support.fakes.json_api import Asked
from tests.support.processes.worker_process import WorkerProcess, publish, scalar, wait_for

ALERT_SECONDS = 60.0
ALERT = "handler-error:delete-account:streams.delivery.Permanent"


@pytest.mark.requirement("Schedules", "dead-letters: the first one alerts within 60 s, by the timer alone")
@pytest.mark.timeout(240)
def test_the_first_dead_letter_alerts_within_a_minute(
    topics: Settings, engine: Engine, worker: Callable[..., WorkerProcess]
) -> None:
    """A second check finds nothing new to tell."""
    checks = "select count(*) from streams.slots where schedule = 'dead-letter-alerts' and status = 'success'"
    with alert_receivers() as (mails, webhook, receivers):
        one = worker(STREAMS_DEAD_LETTER_ALERTS_ENABLED="true", **receivers).start()
        publish(topics, [AccountDeletionRequested(account_id="nobody")])
        wait_for(lambda: scalar(engine, "select count(*) from streams.dead_letters") == 1, "a dead letter", 30)
        died = time.monotonic()
        wait_for(lambda: told(webhook.requests) and mails.received, "the alert", ALERT_SECONDS)
        assert time.monotonic() - died < ALERT_SECONDS
        done = int(str(scalar(engine, checks)))
        wait_for(lambda: int(str(scalar(engine, checks))) > done, "another check", 90)
        assert one.stop() == 0
        assert told(webhook.requests) == 1
        assert sum(ALERT in mail.part("plain") for mail in mails.received) == 1


def told(requests: list[Asked]) -> int:
    """Return how often the webhook was told of the dead letter."""
    return sum(asked.body["name"] == ALERT for asked in requests)
