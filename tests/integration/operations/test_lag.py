"""Lag as Kafka reports it: without a worker, with active members, and after retention."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.observability.metrics import Lag
from streams.operations.lag import group_lag
from streams.operations.topics.tier_records import delete_settled_retries
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from tests.support.cli import Commands
from tests.support.processes.preloaded import commands_folder
from tests.support.processes.worker_process import PATIENCE, Streams

pytestmark = pytest.mark.topics("document.deleted", "message.created")

MakeTopic = Callable[[str, int], None]


def produce(settings: Settings, topic: str, partition: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for number in range(count):
        producer.produce(topic, str(number).encode(), partition=partition)
    assert producer.flush(PATIENCE) == 0


@contextmanager
def member(settings: Settings, group: str, protocol: str) -> Iterator[Consumer]:
    """A consumer that commits only on request."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def by_place(rows: Sequence[Lag]) -> dict[tuple[str, int], Lag]:
    return {(row.topic, row.partition): row for row in rows}


@pytest.mark.requirement("Commands", "`lag` and its fields, right with and without workers")
@pytest.mark.parametrize("partitions", [4])
def test_without_any_worker_everything_counts(topics: Settings) -> None:
    """The groups do not exist: all records count, from the earliest one."""
    catalogue = build_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    produce(topics, name, 0, 5)
    produce(topics, name, 2, 1)
    rows = group_lag(topics, catalogue).lags
    group = catalogue.group("low")
    found = by_place(rows)
    assert found[name, 0] == Lag(group, name, 0, current_offset=0, end_offset=5, lag=5)
    assert found[name, 1] == Lag(group, name, 1, current_offset=0, end_offset=0, lag=0)
    assert found[name, 2] == Lag(group, name, 2, current_offset=0, end_offset=1, lag=1)
    assert sum(row.lag for row in rows) == 6
    assert {row.consumergroup for row in rows} == {catalogue.group(pool) for pool in ("high", "default", "low")}
    assert set(catalogue.tiers("low")) <= {row.topic for row in rows}
    assert catalogue.dlq(name) not in {row.topic for row in rows}


@pytest.mark.requirement("Commands", "`lag` and its fields, right with and without workers")
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_while_a_member_works_and_after_it_left(topics: Settings, protocol: str) -> None:
    """Committed partitions count from their offset, the others in full. The same after the group has left."""
    catalogue = build_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    produce(topics, name, 0, 10)
    produce(topics, name, 1, 4)
    with member(topics, catalogue.group("low"), protocol) as consumer:
        consumer.subscribe([name])
        records = consumer.consume(14, timeout=PATIENCE)
        assert len(records) == 14
        consumer.commit(offsets=[TopicPartition(name, 0, 7)], asynchronous=False)
        during = by_place(group_lag(topics, catalogue).lags)
    after = by_place(group_lag(topics, catalogue).lags)
    for found in (during, after):
        assert (found[name, 0].current_offset, found[name, 0].lag) == (7, 3)
        assert (found[name, 1].current_offset, found[name, 1].lag) == (0, 4)


def test_what_retention_removed_does_not_count(topics: Settings) -> None:
    """Deleted records do not count: neither below a committed offset, nor in partitions without one."""
    catalogue = build_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    for partition in (0, 1):
        produce(topics, name, partition, 10)
    with member(topics, catalogue.group("low"), "classic") as consumer:
        consumer.commit(offsets=[TopicPartition(name, 0, 2)], asynchronous=False)
    admin = AdminClient({"bootstrap.servers": topics.kafka_bootstrap_servers})
    for future in admin.delete_records([TopicPartition(name, 0, 6), TopicPartition(name, 1, 9)]).values():
        future.result(PATIENCE)
    found = by_place(group_lag(topics, catalogue).lags)
    assert (found[name, 0].current_offset, found[name, 0].lag) == (6, 4)
    assert (found[name, 1].current_offset, found[name, 1].lag) == (9, 1)


@pytest.mark.requirement("Faults of others", "c14: settled records of retry tiers are deleted")
def test_settled_retries_are_deleted(topics: Settings) -> None:
    """What is below the committed offset of a tier goes. The rest stays, also without a commit, and of events."""
    catalogue = build_catalogue(topics)
    tier, event = catalogue.tier("low", 1.0), catalogue.topic("document.deleted").name
    for topic in (tier, event):
        produce(topics, topic, 0, 5)
    produce(topics, tier, 1, 2)
    with member(topics, catalogue.group("low"), "classic") as consumer:
        committed = [TopicPartition(topic, 0, 3) for topic in (tier, event)]
        consumer.commit(offsets=committed, asynchronous=False)
        assert delete_settled_retries(topics, catalogue) == 1
        first = {
            (topic, number): consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=PATIENCE)
            for topic, number in ((tier, 0), (tier, 1), (event, 0))
        }
    assert first == {(tier, 0): (3, 5), (tier, 1): (0, 2), (event, 0): (0, 5)}
    assert delete_settled_retries(topics, catalogue) == 1


def test_tiers_of_former_delays_count(topics: Settings, make_topic: MakeTopic) -> None:
    """The retry plan changed, but records still wait in the old tier."""
    catalogue = build_catalogue(topics)
    former = f"{catalogue.tier_prefix('low')}7s"
    make_topic(former, 1)
    produce(topics, former, 0, 3)
    assert by_place(group_lag(topics, catalogue).lags)[former, 0].lag == 3


@pytest.mark.requirement("Commands", "`lag` and its fields, right with and without workers")
@pytest.mark.parametrize("partitions", [4])
def test_the_command_shows_the_fields(commands: Commands, topics: Settings) -> None:
    """One row per partition."""
    name = build_catalogue(topics).topic("message.created").name
    produce(topics, name, 3, 2)
    rows = commands.json("lag")
    assert isinstance(rows, list)
    assert {
        "consumergroup": f"{topics.application}.high",
        "topic": name,
        "partition": 3,
        "current_offset": 0,
        "end_offset": 2,
        "lag": 2,
    } in rows


def test_watching_follows_until_interrupted(streams: Streams, topics: Settings) -> None:
    """One JSON line per interval. Records that arrive later are in the next line. Ctrl-C ends it."""
    name = build_catalogue(topics).topic("message.created").name
    watching = subprocess.Popen(
        [commands_folder() / "streams", "lag", "--watch", "--json"],
        env=streams.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert total(watching.stdout.readline()) == 0
        produce(topics, name, 0, 3)
        looks = [total(watching.stdout.readline()) for _ in range(2)]
        assert looks[-1] == 3
        watching.send_signal(signal.SIGINT)
        _, error = watching.communicate(timeout=PATIENCE)
        assert watching.returncode == 130
        assert "Traceback" not in error
    finally:
        watching.kill()


def total(line: str) -> int:
    return sum(row["lag"] for row in json.loads(line))
