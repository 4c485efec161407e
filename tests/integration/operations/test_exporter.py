"""`streams exporter` with real servers: it reports what happened, while no worker runs."""

import re
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from sqlalchemy import Engine, text

from streams.settings import Settings
from streams.topics import Catalogue, load_catalogue
from tests.support.apps.trials import SingleTrialRequested
from tests.support.cli import Commands
from tests.support.pages import page
from tests.support.processes.exporter_process import ExporterProcess, exporting
from tests.support.processes.worker_process import PATIENCE, START, WorkerProcess, publish, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
SECTION = "Metrics"
WITHOUT_HANDLER = ("tenant.created", "tenant.updated")
"""The topics that no handler reads."""
pytestmark = [pytest.mark.timeout(300), pytest.mark.topics("document.deleted", "message.created", "tenant.created")]
"""Seconds. The exporter starts a second process that imports the handlers; a busy machine needs a minute for both."""


def produce(settings: Settings, topic: str, *, partition: int = 0, count: int = 1, age: float = 0.0) -> None:
    """Write records whose timestamps are so many seconds in the past."""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    at = round((time.time() - age) * 1000)
    for number in range(count):
        producer.produce(topic, str(number).encode(), partition=partition, timestamp=at)
    assert producer.flush(PATIENCE) == 0


@pytest.mark.requirement(SECTION, "`streams exporter`: right while no worker runs, for events of every outcome")
def test_events_of_every_outcome_are_reported_without_a_worker(
    trial: Settings,
    environment: dict[str, str],
    engine: Engine,
    worker: MakeWorker,
    commands: Commands,
    tmp_path: Path,
) -> None:
    """A worker succeeds, retries and dead-letters; it stops, and more events come. The lag is that of `streams lag`.

    Only the topics without a handler have none: `streams lag` shows it, and here their records are counted.
    """
    catalogue = load_catalogue(trial)
    topic = catalogue.of(SingleTrialRequested)
    group = catalogue.group(topic.pool)
    one = worker().start()
    publish(trial, [SingleTrialRequested(entity=f"ok{number}") for number in range(3)])
    publish(trial, [SingleTrialRequested(entity="dead", plan="permanent")])
    publish(trial, [SingleTrialRequested(entity="later", plan="ask", seconds=3600)])
    statuses = "select count(*) from streams.executions where status in ('success', 'failure', 'retry')"
    wait_for(lambda: scalar(engine, statuses) == 5, "every outcome")
    assert one.stop() == 0
    publish(trial, [SingleTrialRequested(entity=f"new{number}") for number in range(4)])
    unread = catalogue.topic(WITHOUT_HANDLER[0]).name
    produce(trial, unread, count=3, age=6 * 86_400)
    commands.json("handlers", "pause", "try-single")

    with exporting(environment, tmp_path / "exporter.log") as exporter:
        exporter.wait_until_ready()
        found = exporter.metrics()
        expected = {
            ("kafka_consumergroup_lag", row["consumergroup"], row["topic"], str(row["partition"])): row["lag"]
            for row in commands.rows("lag")
            if row["topic"] not in {catalogue.topic(name).name for name in WITHOUT_HANDLER}
        }
        shown = {
            (name, of["consumergroup"], of["topic"], of["partition"]): value
            for (name, labels), value in found.items()
            if name == "kafka_consumergroup_lag" and (of := dict(labels))
        }
        assert shown == expected
        assert exporter.value("streams_records_without_handler", topic=unread) == 3
        assert {row["lag"] for row in commands.rows("lag") if row["topic"] == unread} == {3}
        of_groups = {dict(labels).get("topic") for _, labels in found if "consumergroup" in dict(labels)}
        assert unread not in of_groups
        of = {"consumergroup": group, "topic": topic.name}
        assert exporter.value("kafka_consumergroup_lag_sum", **of) == 4
        assert 0 < (exporter.value("streams_oldest_unsettled_seconds", **of) or 0) < 300
        retries = {"consumergroup": group, "topic": catalogue.tier(topic.pool, 4.0)}
        assert exporter.value("kafka_consumergroup_lag_sum", **retries) == 1
        assert exporter.value("streams_oldest_unsettled_seconds", **retries)
        assert exporter.value("streams_retention_remaining_seconds", **retries) is None, "tiers keep their records"
        dead = {"topic": topic.name, "handler": "try-single", "reason": "permanent"}
        wait_for(lambda: exporter.value("streams_dead_letters_open", **dead) == 1, "the handlers' names", 2 * START)
        assert sum(_dlq_offsets(exporter, catalogue.dlq(topic.name))) == 1
        assert exporter.value("streams_paused", kind="handler", name="try-single") == 1
        assert exporter.value("kafka_consumergroup_members", consumergroup=group) == 0
        assert exporter.value("kafka_brokers") == 1
        assert exporter.value("streams_outbox_waiting") == 0
        assert {exporter.value("streams_exporter_up", source=name) for name in ("kafka", "database")} == {1}


def _dlq_offsets(exporter: ExporterProcess, dlq: str) -> list[float]:
    return [
        value
        for (name, labels), value in exporter.metrics().items()
        if name == "kafka_topic_partition_current_offset" and dict(labels)["topic"] == dlq
    ]


@pytest.mark.requirement(SECTION, "the exact age of the oldest unsettled record, and retention at risk")
def test_ages_and_retention_come_from_the_record_itself(
    topics: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """An old record in one partition and a young one in another: the old one counts. Its retention is an hour."""
    catalogue = load_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    group = catalogue.group("low")
    _set_retention(topics, name, "3600000")
    produce(topics, name, partition=0, age=3000)
    produce(topics, name, partition=1, age=10)
    with exporting(environment, tmp_path / "exporter.log") as exporter:
        exporter.wait_until_ready()
        of = {"consumergroup": group, "topic": name}
        age = exporter.value("streams_oldest_unsettled_seconds", **of)
        remaining = exporter.value("streams_retention_remaining_seconds", **of)
        assert age is not None
        assert remaining is not None
        assert 3000 <= age < 3300
        assert age + remaining == pytest.approx(3600, abs=2)
        _commit(topics, group, name, partition=0, offset=1)
        wait_for(
            lambda: (exporter.value("streams_oldest_unsettled_seconds", **of) or 9999) < 1000, "the younger record"
        )
        settled = {"consumergroup": catalogue.group("high"), "topic": catalogue.topic("message.created").name}
        assert exporter.value("streams_oldest_unsettled_seconds", **settled) == 0
        assert exporter.value("streams_retention_remaining_seconds", **settled) is None


def _set_retention(settings: Settings, topic: str, milliseconds: str) -> None:
    change = ConfigEntry("retention.ms", milliseconds, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[change])
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE)


def _commit(settings: Settings, group: str, topic: str, *, partition: int, offset: int) -> None:

    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": group, "enable.auto.commit": False}
    )
    consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    consumer.close()


@pytest.mark.requirement(SECTION, "schedules, the outbox and breakers as the database has them")
def test_schedules_outbox_and_breakers_come_from_the_database(
    topics: Settings, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """A schedule with a success and a missed slot, a paused and a broken one, a breaker, outbox rows, unknown names."""
    now = datetime.now(tz=UTC)
    with engine.begin() as connection:
        connection.execute(
            text(
                "insert into streams.schedules "
                "(name, topic, every, catch_up, enabled, origin, next_slot, paused_at, error) values "
                "('hourly', 'x', 3600, 60, true, 'operator', :next, null, null), "
                "('quiet', 'x', 3600, 60, true, 'operator', :next, now(), 'unknown topic'), "
                "('lost', 'x', 3600, 60, true, 'operator', :next, null, 'unknown topic'), "
                "('off', 'x', 3600, 60, false, 'operator', :next, null, 'unknown topic')"
            ),
            {"next": now + timedelta(hours=1)},
        )
        connection.execute(
            text(
                "insert into streams.slots (schedule, slot, kind, status, completed_at) values "
                "('hourly', :slot, 'timer', 'success', :ended), ('hourly', :missed, 'timer', 'missed', null)"
            ),
            {"slot": now - timedelta(hours=2), "missed": now - timedelta(hours=1), "ended": now - timedelta(hours=1.5)},
        )
        connection.execute(
            text(
                "insert into streams.breakers (worker, dependency, state, failures, error, seen_at) values "
                "('w1', 'qdrant', 'open', 5, 'refused', now() + interval '1 hour'), "
                "('w2', 'qdrant', 'closed', 0, null, now() + interval '1 hour'), "
                "('w1', 'redis', 'closed', 0, null, now() + interval '1 hour'), "
                "('w3', 'gone', 'open', 5, 'refused', now() - interval '2 minutes')"
            )
        )
        connection.execute(
            text(
                "insert into streams.outbox (event_id, topic, created_at, failed_at) values "
                "(gen_random_uuid(), 'x', now() - interval '90 seconds', null), (gen_random_uuid(), 'x', now(), now())"
            )
        )
        connection.execute(
            text("insert into streams.pauses (kind, name) values ('topic', :known), ('handler', 'no-such-handler')"),
            {"known": load_catalogue(topics).topic("document.deleted").name},
        )
    with exporting(environment, tmp_path / "exporter.log") as exporter:
        value = exporter.wait_until_ready().value
        wait_for(lambda: value("streams_paused", kind="handler", name="unknown"), "the handlers' names", 2 * START)
        assert value("streams_schedule_next_slot_timestamp_seconds", schedule="hourly") == pytest.approx(
            (now + timedelta(hours=1)).timestamp()
        )
        assert value("streams_schedule_next_slot_timestamp_seconds", schedule="quiet") is None
        assert value("streams_schedule_last_success_timestamp_seconds", schedule="hourly") == pytest.approx(
            (now - timedelta(hours=1.5)).timestamp()
        )
        assert [value("streams_schedule_paused", schedule=name) for name in ("hourly", "quiet")] == [0, 1]
        assert [value("streams_schedule_missed_slots", schedule=name) for name in ("hourly", "quiet")] == [1, 0]
        assert value("streams_schedule_enabled", schedule="hourly") == 1
        broken = [value("streams_schedule_broken", schedule=name) for name in ("hourly", "quiet", "lost", "off")]
        assert broken == [0, 0, 1, 0], "one that shall not run is not broken"
        assert value("streams_schedule_next_slot_timestamp_seconds", schedule="lost") is None
        breakers = [value("streams_breaker_open", dependency=name) for name in ("qdrant", "redis", "gone")]
        assert breakers == [1, 0, None], "a worker that is gone reports no more"
        assert (value("streams_outbox_waiting"), value("streams_outbox_set_aside")) == (1, 1)
        assert 90 <= (value("streams_outbox_oldest_seconds") or 0) < 400
        assert value("streams_paused", kind="handler", name="unknown") == 1
        assert value("streams_paused", kind="topic", name=load_catalogue(topics).topic("document.deleted").name) == 1


@pytest.mark.requirement(SECTION, "members of a group, of both protocols")
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_are_counted(topics: Settings, environment: dict[str, str], tmp_path: Path, protocol: str) -> None:

    catalogue: Catalogue = load_catalogue(topics)
    group = catalogue.group("low")
    member = Consumer(
        {"bootstrap.servers": topics.kafka_bootstrap_servers, "group.id": group, "group.protocol": protocol}
    )
    member.subscribe([catalogue.topic("document.deleted").name])
    try:
        with exporting(environment, tmp_path / "exporter.log") as exporter:
            exporter.wait_until_ready()
            wait_for(
                lambda: (
                    member.poll(0.1) is None and exporter.value("kafka_consumergroup_members", consumergroup=group) == 1
                ),
                "the member",
            )
    finally:
        member.close()


@pytest.mark.requirement(SECTION, "a taken port is one clear line and a non-zero exit")
@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "Address already in use"), ("192.0.2.1", "Cannot assign"), ("no host", "")]
)
def test_an_address_that_cannot_be_used_is_one_line(commands: Commands, host: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = commands.run("exporter", STREAMS_EXPORTER_HOST=host, STREAMS_EXPORTER_PORT=port)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert f"cannot listen on {host}:{port} (STREAMS_EXPORTER_HOST, STREAMS_EXPORTER_PORT): {reason}" in done.stderr


@pytest.mark.requirement("Development", "a test holds the page and the exporter's metrics equal")
def test_the_page_lists_what_is_served_and_the_process_ends_at_once(
    topics: Settings,  # noqa: ARG001 - creates the topics
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Every metric with its type, and nothing else. SIGTERM ends the process within two seconds with code 0."""
    with exporting(environment, tmp_path / "exporter.log") as exporter:
        exporter.wait_until_ready()
        _, text = exporter.page("/metrics")
        served = set(re.findall(r"^# TYPE ((?:kafka|streams)_\S+) (\w+)$", text, re.MULTILINE))
        section = page("docs/reference/metrics.md").text.partition("<!-- generated: exporter -->")[2]
        listed = set(re.findall(r"^\| `(\w+)` \| (\w+) \|", section.partition("<!-- end -->")[0], re.MULTILINE))
        assert served == listed
        assert exporter.page("/health/live") == (200, '{"live": true, "reasons": []}')
        assert exporter.page("/other")[0] == 404
        assert exporter.stop(within=2.0) == 0
    assert "Traceback" not in exporter.output()
