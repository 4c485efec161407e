"""One of three brokers is killed under load and restarted; then another one.

Expected: the other brokers continue with two in-sync replicas of every record. Each event has one effect, and the
outages cost no attempt. The lag is read as soon as the others lead all partitions, and topics keep their ids. Waiting
for a broker costs next to nothing.
"""

import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine

from streams.observability.metrics import Lag
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import UnknownLag, group_lag
from streams.operations.monitoring.kafka_reader import KafkaReader
from streams.operations.topics.prune import Pruned, prune_tiers
from streams.settings import Settings
from streams.topics import Catalogue, load_catalogue
from streams.transport.kafka.client import client_config
from streams.transport.kafka.errors import BrokersUnreachableError
from streams.transport.kafka.partitions.topic_ids import CHECK_SECONDS, TopicIds
from tests.integration.conftest import Stack, make_template, running_stack
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import mixed, publish_in_background
from tests.support.faults.server_faults import kill_server, restore
from tests.support.processes.worker_process import PATIENCE, Streams, WorkerProcess, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
OUTAGE = 12.0
"""Seconds that a broker is down."""
SWITCHES_PER_SECOND = 10_000
"""How often the threads of this process may change while it waits for a broker: 40,000 if two wake each other."""
SWITCHES_IN_OUTAGE = 1_000_000
"""Two requests without an answer are 700,000; threads that wake each other all the time are over two million."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start three brokers, PostgreSQL and Redis. They stop after this module, to free the machine for other tests."""
    with running_stack(tmp_path_factory.mktemp("three"), brokers=3) as stack:
        yield stack


@pytest.fixture(scope="module")
def template(stack: Stack) -> str:
    """Create the template database on the server of this stack."""
    return make_template(stack)


@pytest.mark.requirement("Faults and operations", "one of three brokers killed and brought back, both protocols")
@pytest.mark.timeout(420)
@both_protocols
def test_the_other_brokers_continue(
    stack: Stack, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    load = mixed(4_000)
    one = worker().start()
    with publish_in_background(trial, engine, load, seconds=50):
        for name in ("kafka-2", "kafka-1"):
            time.sleep(3)
            kill_server(stack, name)
            time.sleep(OUTAGE)
            restore(stack)
    assert_each_done_once(engine, streams, load)
    assert_attempts(engine, load)
    stop_cleanly(one)


@pytest.mark.requirement("Faults and operations", "one of three brokers killed: the lag is read, without a busy thread")
@pytest.mark.timeout(180)
def test_the_lag_is_read_from_the_others(stack: Stack, trial: Settings) -> None:
    """A reader that knew the killed leader reads the new ones. Neither the wait nor the time after it is busy."""
    catalogue = load_catalogue(trial)
    kept = KafkaReader(trial, catalogue)
    partitions = len(kept.read().lags)
    kill_server(stack, "kafka-2")
    started, switches = time.monotonic(), _switches()
    try:
        wait_for(
            lambda: _count(lambda: group_lag(trial, catalogue).lags) == partitions, "the lag of all partitions", 60
        )
        wait_for(lambda: _count(lambda: kept.read().lags) == partitions, "the same from the kept reader", 60)
        seconds = time.monotonic() - started
        assert _switches() - switches < SWITCHES_PER_SECOND * seconds
    finally:
        restore(stack)
    assert len(kept.read().lags) == partitions


@pytest.mark.requirement("Faults and operations", "one of three brokers killed: no thread of a worker is busy")
@pytest.mark.timeout(180)
def test_the_ids_of_topics_are_read_from_the_others(stack: Stack, trial: Settings) -> None:
    """The broker that the client takes for the controller is killed. Then a topic is deleted and created again."""
    topic = load_catalogue(trial).topic("trial.single-requested").name
    ids = TopicIds(trial)
    ids.changed(time.monotonic(), {topic})
    wait_for(lambda: not _waits(ids, topic), "the first id")
    kill_server(stack, f"kafka-{_controller(ids)}")
    started, switches = time.monotonic(), _switches()
    try:
        while time.monotonic() - started < 2 * OUTAGE:
            assert ids.changed(time.monotonic(), {topic}) == []
            time.sleep(0.2)
        assert _switches() - switches < SWITCHES_IN_OUTAGE
        admin = AdminClient(client_config(trial))  # a client from before would ask the controller that is down
        admin.delete_topics([topic])[topic].result(PATIENCE)
        wait_for(lambda: _create(admin, topic), "the topic to be created again")
        wait_for(lambda: ids.changed(time.monotonic(), {topic}) == [topic], "its other id", 4 * CHECK_SECONDS)
    finally:
        restore(stack)


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
@pytest.mark.timeout(180)
def test_a_partition_without_a_leader_leaves_out_only_itself(stack: Stack, trial: Settings, streams: Streams) -> None:
    """A topic has one replica of each partition, each on another broker. It looks like a retry topic of a former delay.

    `streams lag` shows the other partitions, names the one without a leader, and fails. A prune keeps the topic.
    """
    catalogue = load_catalogue(trial)
    topic = f"{catalogue.tier_prefix('low')}7s"
    admin = AdminClient(client_config(trial))
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(PATIENCE)
    wait_for(lambda: sum(lag.topic == topic for lag in group_lag(trial, catalogue).lags) == 3, "the new topic")
    partitions = len(group_lag(trial, catalogue).lags)
    kill_server(stack, "kafka-2")
    try:
        left_out = wait_for(lambda: _unknown(trial, catalogue), "one unknown partition", 60)
        assert [one.topic for one in left_out] == [topic]
        done = streams.run("lag", "--json")
        assert f"left out, since its lag is unknown: {topic} [{left_out[0].partition}]; " in done.stderr
        assert (done.returncode, len(json.loads(done.stdout))) == (1, partitions - 1)
        assert prune_tiers(trial, catalogue) == Pruned((), (topic,))
    finally:
        restore(stack)
    assert len(group_lag(trial, catalogue).lags) == partitions


def _unknown(trial: Settings, catalogue: Catalogue) -> Sequence[UnknownLag]:
    """Return the only unknown partition. Empty while the leaders of others, or coordinators, move."""
    try:
        unknown = group_lag(trial, catalogue).unknown
    except (BrokersUnreachableError, KafkaRefusedError):
        return []
    return unknown if len(unknown) == 1 else []


def _count(read: Callable[[], Sequence[Lag]]) -> int | None:
    """Return how many partitions were read. None: a leader does not answer within the time of a request."""
    try:
        return len(read())
    except (BrokersUnreachableError, KafkaRefusedError):
        return None


def _waits(ids: TopicIds, topic: str) -> bool:
    ids.changed(time.monotonic(), {topic})
    return topic not in ids._known


def _controller(ids: TopicIds) -> int:
    assert ids._admin is not None
    return int(ids._admin.list_topics(timeout=PATIENCE).controller_id)


def _create(admin: AdminClient, topic: str) -> bool:
    try:
        admin.create_topics([NewTopic(topic, 1, 2)])[topic].result(PATIENCE)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        return False
    return True


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
