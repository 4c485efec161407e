"""The checks of the queues: one notice when an alert is raised, none until it recovers, one when it has."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, Producer
from redis.asyncio import Redis

from schemas import QueueCheckRequested
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import UnknownLag
from streams.operations.topic_lag import TopicLag
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from tests.support.alerts.monitor import Monitor, open_monitor
from tests.support.fakes.json_api import GARBAGE, NOTHING, JsonApi, Reply, json_api

SECTION = "Schedules"
QUIET = {"alerts": 0, "raised": 0, "recovered": 0, "mailed": False, "posted": 0, "webhook_failed": False}
EMAILS = ("ops@acme.example", "on.call@acme.example")


@pytest.fixture
def webhook() -> Iterator[tuple[JsonApi, str]]:
    with json_api() as opened:
        yield opened


@pytest.fixture
async def monitor(settings: Settings, webhook: tuple[JsonApi, str], tmp_path: Path) -> AsyncIterator[Monitor]:
    """A deployment with both channels, whose lag is what the test says."""
    del tmp_path
    more = {"alert_emails": EMAILS, "alert_webhook_url": f"{webhook[1]}/hook/token", "service_request_timeout": 2}
    async with open_monitor(settings, **more) as opened:
        yield opened.without_kafka()


def waiting(records: int, topic: str = "document.deleted") -> TopicLag:
    return TopicLag("streams.low", topic, records, datetime.now(tz=UTC), None, None, 1)


@pytest.mark.requirement(SECTION, "queue-monitor: one notice when an alert is raised, none until it recovers, one then")
async def test_an_alert_from_its_beginning_to_its_end(monitor: Monitor, webhook: tuple[JsonApi, str]) -> None:
    """By mail and by webhook. Today the platform sends a mail for each check while the queue is long."""
    server, _ = webhook
    assert await monitor.check_queues() == QUIET
    monitor.lags = [waiting(250)]
    assert await monitor.check_queues() == QUIET | {"alerts": 1, "raised": 1, "mailed": True, "posted": 1}
    monitor.lags = [waiting(300)]
    for _ in range(3):
        assert await monitor.check_queues() == QUIET | {"alerts": 1}
    assert await monitor.rows("select detail from streams.alerts") == [("300 records wait, the limit is 200",)]
    monitor.lags = [waiting(3)]
    assert await monitor.check_queues() == QUIET | {"recovered": 1, "mailed": True, "posted": 1}
    assert await monitor.check_queues() == QUIET
    monitor.lags = [waiting(201)]
    await monitor.check_queues()

    assert [mail.to for mail in monitor.mails] == [list(EMAILS)] * 3
    name, application = "lag:streams.low:document.deleted", monitor.monitoring.application
    assert monitor.subjects() == [f"[{application}] {state}: {name}" for state in ("raised", "recovered", "raised")]
    posted = [asked.body for asked in server.requests]
    assert [(one["name"], one["state"]) for one in posted] == [
        (name, "raised"),
        (name, "recovered"),
        (name, "raised"),
    ]
    assert {asked.path for asked in server.requests} == {"/hook/token"}
    assert posted[0]["raised_at"] == posted[1]["raised_at"] != posted[2]["raised_at"]
    assert posted[0]["recovered_at"] is None
    assert posted[1]["recovered_at"] is not None


@pytest.mark.requirement(SECTION, "queue-monitor: all changes of a check are one mail, and one request each")
async def test_many_alerts_at_once(monitor: Monitor, webhook: tuple[JsonApi, str]) -> None:
    monitor.lags = [waiting(999, f"topic-{number:02}") for number in range(25)]
    assert await monitor.check_queues() == QUIET | {"alerts": 25, "raised": 25, "mailed": True, "posted": 20}
    assert await monitor.check_queues() == QUIET | {"alerts": 25, "posted": 5}
    assert len(monitor.subjects()) == 1
    assert len({asked.body["name"] for asked in webhook[0].requests}) == 25


@pytest.mark.requirement(SECTION, "queue-monitor: a webhook that fails is asked again, and delays no mail")
@pytest.mark.parametrize(
    "reply", [Reply(500), Reply(404), Reply(429, b"", {"Retry-After": "9"}), Reply(302), GARBAGE, NOTHING], ids=str
)
async def test_a_failing_webhook(monitor: Monitor, webhook: tuple[JsonApi, str], reply: Reply) -> None:
    """The mail is sent at once. A further check follows soon; it sends the notice, and no second mail."""
    server, _ = webhook
    server.answer = lambda _asked, _before: reply
    monitor.lags = [waiting(250)]
    result = await monitor.check_queues()
    assert result == QUIET | {"alerts": 1, "raised": 1, "mailed": True, "webhook_failed": True}
    [following] = monitor.published
    assert isinstance(following, QueueCheckRequested)
    assert following.repeat == 1
    server.answer = lambda _asked, _before: Reply(204, b"")
    assert await monitor.check_queues(following) == QUIET | {"alerts": 1, "posted": 1}
    assert len(monitor.published) == len(monitor.subjects()) == 1
    assert [asked.body for asked in server.requests] == [server.requests[0].body] * 2


async def test_a_webhook_that_fails_for_ever_causes_a_few_checks_only(
    monitor: Monitor, webhook: tuple[JsonApi, str]
) -> None:
    """The further checks end before the schedule's next one, which continues. No notice is lost meanwhile."""
    webhook[0].answer = lambda _asked, _before: Reply(503)
    monitor.lags = [waiting(250)]
    event, checks = QueueCheckRequested(), 0
    while event is not None:
        await monitor.check_queues(event)
        checks += 1
        event = monitor.published.pop() if monitor.published else None  # type: ignore[assignment]  # a check
    assert checks == 6
    assert await monitor.rows("select count(*) from streams.alert_notices") == [(1,)]


@pytest.mark.requirement(SECTION, "queue-monitor: two checks at once send one notice")
async def test_two_checks_at_once(monitor: Monitor) -> None:
    monitor.lags = [waiting(250)]
    await asyncio.gather(*(monitor.check_queues() for _ in range(4)))
    assert len(monitor.subjects()) == 1
    monitor.lags = []
    await asyncio.gather(*(monitor.check_queues() for _ in range(4)))
    assert len(monitor.subjects()) == 1


@pytest.mark.requirement(SECTION, "queue-monitor: dead letters that were not replayed, and missed schedules")
async def test_dead_letters_and_missed_slots(monitor: Monitor) -> None:
    """A slot that was missed long ago is no alert any more."""
    await monitor.add_dead_letters(2, dlq="a.dlq")
    await monitor.add_dead_letters(3, dlq="b.dlq", replayed=True)
    await monitor.execute(
        "insert into streams.slots (schedule, slot, kind, status, claimed_at) values "
        "('clean-messages', now() - interval '1 day', 'timer', 'missed', now()), "
        "('clean-messages', now() - interval '2 days', 'timer', 'missed', now()), "
        "('clean-messages', now() - interval '1 hour', 'timer', 'success', now()), "
        "('queue-monitor', now() - interval '1 day', 'timer', 'missed', now() - interval '2 hours')"
    )
    await monitor.check_queues()
    found = await monitor.rows("select name, split_part(detail, ',', 1) from streams.alerts order by name")
    assert found == [
        ("dead-letters:a.dlq", "2 dead letters were not replayed"),
        ("missed-slots:clean-messages", "2 slots did not run"),
    ]
    await monitor.execute("update streams.dead_letters set replayed_at = now()")
    await monitor.execute("update streams.slots set claimed_at = now() - interval '61 minutes'")
    assert await monitor.check_queues() == QUIET | {"recovered": 2, "mailed": True, "posted": 2}


@pytest.mark.requirement(SECTION, "queue-monitor: during a switch the platform's Celery queues too, also unread ones")
async def test_celery_queues(settings: Settings) -> None:
    """While the broker does not answer, that is the alert, and the alerts about its queues last."""
    url = settings.redis_url.get_secret_value()
    queue = f"unread-{uuid4()}"
    async with Redis.from_url(url) as redis:
        await redis.lpush(queue, "task")
        known = {"celery_broker_url": url, "celery_unread_queues": queue}
        async with open_monitor(settings, **known) as opened:
            assert await opened.without_kafka().check_queues() == QUIET | {"alerts": 1, "raised": 1}
        async with open_monitor(settings, **known | {"celery_broker_url": "redis://127.0.0.1:1/0"}) as away:
            assert await away.without_kafka().check_queues() == QUIET | {"alerts": 1, "raised": 1}
            names = await away.rows("select name from streams.alerts where recovered_at is null order by name")
            assert names == [("celery-broker:redis",), (f"celery-queue:{queue}",)]
        await redis.delete(queue)
        async with open_monitor(settings, **known) as opened:
            assert await opened.without_kafka().check_queues() == QUIET | {"recovered": 2}


@pytest.mark.requirement(SECTION, "queue-monitor: lag and age of every group and topic, against thresholds")
async def test_the_lag_of_kafka(topics: Settings) -> None:
    """No worker runs: records of one topic wait, and their time is an hour ago."""
    topic = build_catalogue(topics).topic("document.deleted").name
    producer = Producer({"bootstrap.servers": topics.kafka_bootstrap_servers})
    long_ago = int((datetime.now(tz=UTC) - timedelta(hours=1)).timestamp() * 1000)
    for number in range(3):
        producer.produce(topic, str(number).encode(), timestamp=long_ago)
    assert producer.flush(20) == 0
    async with open_monitor(topics, queue_monitor_lag=3, alert_emails=EMAILS) as monitor:
        assert await monitor.check_queues() == QUIET | {"alerts": 2, "raised": 2, "mailed": True}
        names = await monitor.rows("select name from streams.alerts order by name")
    group = f"{topics.application}.low"
    assert [str(name).replace(group, "low").replace(topic, "t") for (name,) in names] == ["age:low:t", "lag:low:t"]


async def test_an_age_that_cannot_be_read_is_not_over(monitor: Monitor) -> None:
    """Kafka has not sent the oldest record in time. The alert lasts until its age is known."""
    monitor.lags = [replace(waiting(5), oldest=datetime.now(tz=UTC) - timedelta(hours=1))]
    await monitor.check_queues()
    monitor.lags = [replace(waiting(5), oldest=None)]
    assert await monitor.check_queues() == QUIET
    monitor.lags = [waiting(5)]
    assert await monitor.check_queues() == QUIET | {"recovered": 1, "mailed": True, "posted": 1}


@pytest.mark.requirement(SECTION, "queue-monitor: without Kafka the other kinds are checked, and lag lasts")
async def test_without_kafka_the_others_are_checked(settings: Settings, monitor: Monitor) -> None:
    """No alert recovers because nobody could look. That Kafka does not answer is an alert, and a check follows soon."""
    monitor.lags = [replace(waiting(250), oldest=datetime.now(tz=UTC) - timedelta(hours=1))]
    await monitor.check_queues()
    nowhere = {"kafka_bootstrap_servers": "127.0.0.1:1", "kafka_request_timeout": 0.5}
    async with open_monitor(settings, **nowhere, alert_emails=EMAILS) as away:
        await away.add_dead_letters(2, dlq="a.dlq")
        assert await away.check_queues() == QUIET | {"alerts": 2, "raised": 2, "mailed": True}
        [following] = away.published
        assert isinstance(following, QueueCheckRequested)
    names = await monitor.rows("select name from streams.alerts where recovered_at is null order by name")
    subject = "streams.low:document.deleted"
    assert names == [(f"age:{subject}",), ("dead-letters:a.dlq",), ("kafka:lag",), (f"lag:{subject}",)]
    monitor.lags = []
    assert await monitor.check_queues() == QUIET | {"alerts": 1, "recovered": 3, "mailed": True, "posted": 3}


@pytest.mark.requirement(SECTION, "queue-monitor: without Kafka the other kinds are checked, and lag lasts")
async def test_the_alerts_of_a_partition_without_a_leader_last(monitor: Monitor) -> None:
    """The lag of the other partitions is below the threshold; that of the whole topic is not known."""
    gone, other = "document.deleted", "dataset.deleted"
    old = datetime.now(tz=UTC) - timedelta(hours=1)
    monitor.lags = [replace(waiting(250, topic), oldest=old) for topic in (gone, other)]
    await monitor.check_queues()
    error = KafkaRefusedError("it has no leader now", KafkaError.LEADER_NOT_AVAILABLE)
    monitor.unknown = [UnknownLag("streams.low", gone, 1, error)]
    monitor.lags = [waiting(1, gone), waiting(1, other)]
    assert await monitor.check_queues() == QUIET | {
        "alerts": 1,
        "raised": 1,
        "recovered": 2,
        "mailed": True,
        "posted": 3,
    }
    names = await monitor.rows("select name from streams.alerts where recovered_at is null order by name")
    assert names == [(f"age:streams.low:{gone}",), ("kafka:lag",), (f"lag:streams.low:{gone}",)]
    monitor.unknown = []
    assert await monitor.check_queues() == QUIET | {"recovered": 3, "mailed": True, "posted": 3}
