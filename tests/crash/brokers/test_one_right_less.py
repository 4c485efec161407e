"""Each right in Kafka that `streams acls` prints is needed: without it, one thing stops, and with it again, it works.

Each case takes one operation on one resource from a role. Where Kafka lets a right contain a smaller one (READ contains
DESCRIBE), the role keeps the smaller one, so the case shows that this is not enough.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas import Event
from streams.codec import build_codec
from streams.database import sync_engine
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import group_lag
from streams.operations.monitoring.kafka_reader import KafkaReader
from streams.operations.monitoring.sample import KafkaSample
from streams.operations.oldest import oldest_records
from streams.operations.topics.acls import AclRule, Kind, Role, rules_of
from streams.operations.topics.tier_records import delete_settled_retries
from streams.publishing import Outbox, PublishError
from streams.publishing.outbox.outbox import OutboxRow
from streams.publishing.outbox.rejected import retry_set_aside
from streams.settings import Settings
from streams.topics import Catalogue, load_catalogue
from tests.integration.conftest import make_topics, own_environment, settings_in
from tests.support.apps.trials import SingleTrialRequested
from tests.support.local_stack.cluster import admin_client, delete_topic, topic_names
from tests.support.local_stack.guarded_kafka import GuardedKafka, Users, grant, guarded_kafka, without
from tests.support.local_stack.stack import Stack
from tests.support.processes.relay_process import RelayProcess
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import make_table, with_trials

REFUSED = "authorization failed"
"""Kafka's words for a missing right, in a log."""
NO_OFFSETS = "may not describe the group (streams acls)"
"""The words for a missing right on a group. librdkafka does not name the right: it asks again until its time is up."""
CONTAINED = {"READ": "DESCRIBE", "WRITE": "DESCRIBE", "DELETE": "DESCRIBE", "ALTER": "DESCRIBE"}
CONTAINED |= {"ALTER_CONFIGS": "DESCRIBE_CONFIGS"}
PARTITIONS = 2
PATIENCE = 120.0
"""Seconds. A worker starts within them on a busy machine."""
Steps = Iterator[None]


@dataclass(frozen=True)
class Place:
    """A deployment on the guarded broker. Each role has its rights."""

    broker: GuardedKafka
    users: Users
    settings: Settings
    """Those of the test itself, which may do everything."""
    engine: Engine

    @property
    def catalogue(self) -> Catalogue:
        return load_catalogue(self.settings)

    @property
    def event_topic(self) -> str:
        return self.catalogue.of(SingleTrialRequested).name

    @property
    def dlq(self) -> str:
        return self.catalogue.dlq(self.event_topic)

    def tier(self, delay: float) -> str:
        return self.catalogue.tier("default", delay)


@dataclass
class Scene:
    """A case: the place, and processes that end with it."""

    place: Place
    folder: Path
    closing: ExitStack = field(default_factory=ExitStack)

    def worker(self) -> WorkerProcess:
        worker = WorkerProcess(self.place.users.of(Role.WORKER), self.folder / "worker.log").start(ready=False)
        self.closing.callback(lambda: sys.stdout.write(worker.output()[-6000:]))  # pytest shows it if the test failed
        self.closing.callback(worker.kill)
        return worker

    def relay(self) -> RelayProcess:
        relay = RelayProcess(self.place.users.of(Role.RELAY), self.folder / "relay")
        self.closing.callback(lambda: sys.stdout.write(relay.log.read_text()))
        self.closing.callback(relay.process.kill)
        return relay

    def settings(self, role: Role) -> Settings:
        return self.place.users.settings(role)

    def publish(self, plan: str = "succeed", times: int = 0) -> Event:
        event = SingleTrialRequested.model_validate({"entity": "e", "plan": plan, "times": times})
        publish(self.place.settings, [event])
        return event

    def publish_with_outbox(self) -> Event:
        event = SingleTrialRequested(entity="e")
        with Session(self.place.engine) as session:
            Outbox(session, build_codec(self.place.settings, self.place.catalogue)).publish(event)
            session.commit()
        return event

    def status(self, event: Event) -> object:
        found = rows(self.place.engine, "select status from streams.executions where event_id = :id", id=event.event_id)
        return found[0]["status"] if found else None

    def write(self, topic: str) -> None:
        """Write a record to a topic, as the test."""
        producer = Producer({"bootstrap.servers": self.place.broker.address})
        producer.produce(topic, b"x")
        assert producer.flush(10) == 0

    def sample(self) -> KafkaSample:
        """Return what the exporter reads."""
        return KafkaReader(self.settings(Role.EXPORTER), self.place.catalogue).read()


def producer_writes_events(scene: Scene) -> Steps:
    event = SingleTrialRequested(entity="e")
    settings = scene.settings(Role.PRODUCER)
    with pytest.raises(PublishError, match="(?i)" + REFUSED):
        publish(settings, [event])
    yield
    assert publish(settings, [event]) == 1


def relay_writes_events(scene: Scene) -> Steps:
    scene.publish_with_outbox()
    yield from relayed(scene)


def relay_writes_retries(scene: Scene) -> Steps:
    """A replay of a dead letter goes by the outbox to the pool's first retry topic."""
    with Session(scene.place.engine) as session:
        event = SingleTrialRequested(entity="e")
        session.add(OutboxRow(event_id=event.event_id, topic=scene.place.tier(0), key=b"k", value=b"x", headers=[]))
        session.commit()
    yield from relayed(scene)


def relayed(scene: Scene) -> Steps:
    scene.relay()
    yield from sent(scene)


def sent(scene: Scene) -> Steps:
    """A relay sets a row aside that Kafka does not allow. It sends it when an operator says so."""
    error = "select coalesce(max(error), '') from streams.outbox"
    wait_for(lambda: refused(str(scalar(scene.place.engine, error))), "the row to be set aside", PATIENCE)
    yield
    with scene.place.engine.begin() as connection:
        assert len(retry_set_aside(connection, None)) == 1
    wait_for(partial(sent_at_last, scene), "the row to be sent", PATIENCE)


def sent_at_last(scene: Scene) -> bool:
    """Say again what an operator says. For a moment the relay's client still knows that the topic is not allowed."""
    with scene.place.engine.begin() as connection:
        retry_set_aside(connection, None)
    return waiting(scene) == 0


def waiting(scene: Scene) -> object:
    return scalar(scene.place.engine, "select count(*) from streams.outbox")


def refused(log: str) -> bool:
    return REFUSED in log.lower()


def worker_reads_events(scene: Scene) -> Steps:
    yield from handled(scene, scene.publish(), "success")


def worker_reads_retries(scene: Scene) -> Steps:
    yield from handled(scene, scene.publish("fail", times=1), "success")


def worker_writes_retries(scene: Scene) -> Steps:
    yield from handled(scene, scene.publish("fail", times=1), "success")


def worker_writes_dead_letters(scene: Scene) -> Steps:
    yield from handled(scene, scene.publish("permanent"), "failure")


def worker_joins_its_groups(scene: Scene) -> Steps:
    """The worker ends and says why. A supervisor starts it again."""
    event = scene.publish()
    worker = scene.worker()
    assert worker.wait(PATIENCE) == 1
    assert refused(worker.output())
    yield
    scene.worker()
    wait_for(lambda: scene.status(event) == "success", "the event", PATIENCE)


def handled(scene: Scene, event: Event, ending: str) -> Steps:
    worker = scene.worker()
    wait_for(lambda: refused(worker.output()), "the worker to be refused", PATIENCE)
    assert scene.status(event) != ending
    yield
    wait_for(lambda: scene.status(event) == ending, f"the event to end as {ending}", PATIENCE)


def worker_writes_events(scene: Scene) -> Steps:
    """The relay in the worker sends what handlers publish."""
    scene.publish_with_outbox()
    scene.worker()
    yield from sent(scene)


def worker_deletes_retries(scene: Scene) -> Steps:
    event = scene.publish("fail", times=1)
    worker = scene.worker()
    wait_for(lambda: scene.status(event) == "success", "the retry", PATIENCE)
    assert worker.stop() == 0
    deleted = partial(delete_settled_retries, scene.settings(Role.WORKER), scene.place.catalogue)
    assert deleted() == 0
    yield
    assert deleted() > 0


def operator_reads_events(scene: Scene) -> Steps:
    scene.publish()
    yield from age_is_known(scene, scene.place.event_topic)


def operator_reads_retries(scene: Scene) -> Steps:
    scene.write(scene.place.tier(4))
    yield from age_is_known(scene, scene.place.tier(4))


def age_is_known(scene: Scene, topic: str) -> Steps:
    """`streams lag` shows the time of the oldest record of a topic."""
    settings = scene.settings(Role.OPERATOR).model_copy(update={"kafka_request_timeout": 3.0})

    def topics() -> set[str]:
        return {name for name, _ in oldest_records(settings, group_lag(settings, scene.place.catalogue).lags)}

    assert topic not in topics()
    yield
    assert topic in topics()


def operator_reads_dead_letters(scene: Scene) -> Steps:
    scene.write(scene.place.dlq)
    yield from command(scene, Role.OPERATOR, "dlq", "rebuild")


def operator_describes_groups(scene: Scene) -> Steps:
    yield from command(scene, Role.OPERATOR, "lag", "--json", sign=NO_OFFSETS)


def command(scene: Scene, role: Role, *arguments: str, sign: str = REFUSED) -> Steps:
    commands = scene.place.users.commands(role)
    done = commands.run(*arguments)
    assert done.returncode != 0
    assert sign in done.stderr.lower(), done.stderr
    yield
    done = commands.run(*arguments)
    assert done.returncode == 0, done.stderr


def exporter_reads_events(scene: Scene) -> Steps:
    scene.publish()
    yield from exported(scene, lambda sample: {name for name, _ in sample.oldest}, scene.place.event_topic)


def exporter_reads_retries(scene: Scene) -> Steps:
    scene.write(scene.place.tier(4))
    yield from exported(scene, lambda sample: {name for name, _ in sample.oldest}, scene.place.tier(4))


def exporter_reads_retention(scene: Scene) -> Steps:
    scene.publish()
    yield from exported(scene, lambda sample: set(sample.retention), scene.place.event_topic)


def exporter_reads_retention_of_retries(scene: Scene) -> Steps:
    """Retry topics have no retention. If somebody sets one, records may be lost, and an alert must say so."""
    topic = scene.place.tier(4)
    scene.write(topic)
    configure(scene, topic, "retention.ms", "86400000")
    yield from exported(scene, lambda sample: set(sample.retention), topic)


def exporter_describes_dead_letters(scene: Scene) -> Steps:
    yield from exported(scene, lambda sample: {one.topic for one in sample.partitions}, scene.place.dlq)


def exported(scene: Scene, topics: Callable[[KafkaSample], set[str]], topic: str) -> Steps:
    """The exporter's figures of a topic. The others are there without it."""
    less = scene.sample()
    assert topic not in topics(less)
    assert less.partitions
    yield
    assert topic in topics(scene.sample())


def exporter_describes_groups(scene: Scene) -> Steps:
    with pytest.raises(KafkaRefusedError, match="(?i)" + re.escape(NO_OFFSETS)):
        scene.sample()
    yield
    assert scene.sample().lags


def deployment_creates(scene: Scene) -> Steps:
    delete_topic(scene.place.broker.address, scene.place.dlq)
    yield from command(scene, Role.DEPLOYMENT, "topics", "apply")
    assert scene.place.dlq in topic_names(scene.place.broker.address)


def deployment_adds_partitions(scene: Scene) -> Steps:
    address, topic = scene.place.broker.address, scene.place.event_topic
    delete_topic(address, topic)
    admin_client(address).create_topics([NewTopic(topic, PARTITIONS - 1, 1)])[topic].result(10)
    yield from command(scene, Role.DEPLOYMENT, "topics", "apply")
    assert len(admin_client(address).list_topics(topic, timeout=10).topics[topic].partitions) == PARTITIONS


def deployment_configures(scene: Scene) -> Steps:
    configure(scene, scene.place.event_topic, "retention.ms", "1000000")
    yield from command(scene, Role.DEPLOYMENT, "topics", "apply")


def configure(scene: Scene, topic: str, name: str, value: str) -> None:
    """Set a topic's configuration, as the test."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for answer in admin_client(scene.place.broker.address).incremental_alter_configs([resource]).values():
        answer.result(10)


def deployment_prunes(scene: Scene, sign: str = REFUSED) -> Steps:
    """`--prune` deletes the retry topic of a former delay, if the pool's group has nothing left to do in it."""
    former = scene.place.catalogue.tier_prefix("default") + "7s"
    address = scene.place.broker.address
    admin_client(address).create_topics([NewTopic(former, 1, 1)])[former].result(10)
    yield from command(scene, Role.DEPLOYMENT, "topics", "apply", "--prune", sign=sign)
    wait_for(lambda: former not in topic_names(address), "the former retry topic to be gone")


CASES: dict[tuple[Role, str, str], Callable[[Scene], Steps]] = {
    (Role.PRODUCER, "event", "WRITE"): producer_writes_events,
    (Role.RELAY, "event", "WRITE"): relay_writes_events,
    (Role.RELAY, "tier", "WRITE"): relay_writes_retries,
    (Role.WORKER, "event", "READ"): worker_reads_events,
    (Role.WORKER, "event", "WRITE"): worker_writes_events,
    (Role.WORKER, "tier", "READ"): worker_reads_retries,
    (Role.WORKER, "tier", "WRITE"): worker_writes_retries,
    (Role.WORKER, "tier", "DELETE"): worker_deletes_retries,
    (Role.WORKER, "dlq", "WRITE"): worker_writes_dead_letters,
    (Role.WORKER, "group", "READ"): worker_joins_its_groups,
    (Role.OPERATOR, "event", "READ"): operator_reads_events,
    (Role.OPERATOR, "tier", "READ"): operator_reads_retries,
    (Role.OPERATOR, "dlq", "READ"): operator_reads_dead_letters,
    (Role.OPERATOR, "group", "DESCRIBE"): operator_describes_groups,
    (Role.EXPORTER, "event", "READ"): exporter_reads_events,
    (Role.EXPORTER, "event", "DESCRIBE_CONFIGS"): exporter_reads_retention,
    (Role.EXPORTER, "tier", "READ"): exporter_reads_retries,
    (Role.EXPORTER, "tier", "DESCRIBE_CONFIGS"): exporter_reads_retention_of_retries,
    (Role.EXPORTER, "dlq", "DESCRIBE"): exporter_describes_dead_letters,
    (Role.EXPORTER, "group", "DESCRIBE"): exporter_describes_groups,
    (Role.DEPLOYMENT, "topic", "CREATE"): deployment_creates,
    (Role.DEPLOYMENT, "topic", "ALTER"): deployment_adds_partitions,
    (Role.DEPLOYMENT, "topic", "ALTER_CONFIGS"): deployment_configures,
    (Role.DEPLOYMENT, "topic", "DELETE"): deployment_prunes,
    (Role.DEPLOYMENT, "group", "DESCRIBE"): partial(deployment_prunes, sign=NO_OFFSETS),
}
"""By role, kind of topic or group, and operation: what needs this right. It pauses when it has failed without it."""


@pytest.fixture(scope="module")
def place(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("guarded")
    with (
        guarded_kafka(stack, folder / "kafka") as broker,
        own_environment(stack, template, folder, PARTITIONS) as own,
    ):
        environment = with_trials({**own, "STREAMS_KAFKA_BOOTSTRAP_SERVERS": broker.address}, folder)
        settings = settings_in(environment)
        make_topics(settings)
        engine = sync_engine(settings)
        make_table(engine)
        for role in Role:
            grant(broker, role, rules_of(role, settings, load_catalogue(settings)))
        yield Place(broker, Users(broker, environment), settings, engine)
        engine.dispose()


def kind_of(rule: AclRule, place: Place) -> str:
    """Return what a rule is about, as in `CASES`; "" for a rule about resources that the cases do not use."""
    kinds = {
        place.event_topic: "event",
        place.catalogue.tier_prefix("default"): "tier",
        place.dlq: "dlq",
        place.settings.topic_prefix: "topic",
    }
    return str(rule.kind) if rule.kind is not Kind.TOPIC else kinds.get(rule.name, "")


def rights(place: Place) -> dict[tuple[Role, str, str], AclRule]:
    """Return each single right about the resources that the cases use."""
    return {
        (role, kind, operation): replace(rule, operations=(operation,))
        for role in Role
        for rule in rules_of(role, place.settings, place.catalogue)
        if (kind := kind_of(rule, place))
        for operation in rule.operations
    }


@pytest.mark.requirement("Faults of others", "one right in Kafka less, and something stops")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("right", CASES, ids="-".join)
def test_one_right_less_stops_something(right: tuple[Role, str, str], place: Place, tmp_path: Path) -> None:
    assert set(rights(place)) == set(CASES)
    role, _, operation = right
    scene = Scene(place, tmp_path)
    contained = [CONTAINED[operation]] if operation in CONTAINED else []
    with scene.closing:
        steps = CASES[right](scene)
        with without(place.broker, role, rights(place)[right], *contained):
            next(steps)
        assert next(steps, "the end") == "the end"
