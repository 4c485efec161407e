"""The ACLs of the threat model's table are enough for each principal, and no more.

The test reads the table of the page, gives its rights to one user per row on a broker that refuses everything else, and
runs what each of them is for. Expected: an event goes from the producer, and one from the outbox, through a retry, into
the ledger or the DLQ; an operator sees and replays it; nobody can do more.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from streams.codec import build_codec
from streams.local.kafka import Kafka
from streams.local.ports import allocate_ports
from streams.local.process import StartUp
from streams.operations.doctor.finding import Finding
from streams.operations.doctor.kafka import examine_kafka
from streams.operations.topics.tier_records import delete_settled_retries
from streams.publishing import EventProducer, Outbox, PublishError
from streams.settings import Settings
from streams.topics import Catalogue, load_catalogue
from streams.transport.kafka.client import client_config
from tests.integration.conftest import settings_in
from tests.support.apps.trials import BatchTrialRequested, SingleTrialRequested
from tests.support.cli import Commands
from tests.support.local_stack.stack import Stack
from tests.support.processes.relay_process import RelayProcess
from tests.support.processes.worker_process import ROOT, WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, make_table

__all__ = ["environment"]
PAGE = ROOT / "docs" / "explanation" / "threat-model.md"
PASSWORD = "open sesame"
USERS = {
    "producer": "a producer (EventProducer)",
    "sender": "a service that uses the outbox",
    "worker": "workers",
    "relay": "a relay in a process of its own (`streams relay`)",
    "operator": "operators (`streams dlq`, `streams lag`)",
    "exporter": "`streams exporter`",
    "deployment": "deployment (`streams topics apply`)",
}
"""The users, and their rows of the table."""
DENIED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
Resource = tuple[ResourceType, str, ResourcePatternType]


class GuardedKafka(Kafka):
    """One broker with a listener for users. They may do nothing but what a rule allows."""

    users: int

    def _config(self, node: int, data: Path) -> Mapping[str, str]:
        plain = super()._config(node, data)
        more = f",USERS://127.0.0.1:{self.users}"
        accounts = " ".join(f'user_{name}="{PASSWORD}"' for name in USERS)
        return {
            **plain,
            "listeners": plain["listeners"] + more,
            "advertised.listeners": plain["advertised.listeners"] + more,
            "listener.security.protocol.map": plain["listener.security.protocol.map"] + ",USERS:SASL_PLAINTEXT",
            "listener.name.users.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.users.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {accounts};"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # the broker itself, and the test
        }


@pytest.fixture(scope="module")
def broker(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    folder = tmp_path_factory.mktemp("guarded")
    ports = allocate_ports({}, ("kafka-1", "kafka-controller-1", "users"))
    kafka = GuardedKafka(folder, ports, brokers=1, cluster_id="YWNscy1jbHVzdGVyLTExMQ", cache=stack.folder / "cache")
    kafka.users = ports["users"]
    kafka.start(StartUp(lambda _: None))
    try:
        yield kafka
    finally:
        kafka.stop()


def table() -> dict[str, list[tuple[str, list[AclOperation]]]]:
    """Return the page's table: by principal, the resources with their operations."""
    section = PAGE.read_text().partition("## Rights in Kafka")[2].partition("\n## ")[0]
    found: dict[str, list[tuple[str, list[AclOperation]]]] = {}
    principal = ""
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] == "principal" or set(cells[0]) == {"-"}:
            continue
        principal = cells[0] or principal
        operations = [AclOperation[name] for name in re.findall(r"\b[A-Z_]{4,}\b", cells[2])]
        found.setdefault(principal, []).append((cells[1], operations))
    return found


def resources(text: str, settings: Settings, catalogue: Catalogue) -> list[Resource]:
    """Return what a cell of the table names. Unknown words fail the test."""
    application = f"{settings.topic_prefix}{settings.application}."
    events = [literal(topic.name) for topic in catalogue]
    dead = [literal(catalogue.dlq(topic.name)) for topic in catalogue]
    tiers: list[Resource] = [(ResourceType.TOPIC, application, ResourcePatternType.PREFIXED)]
    known: dict[str, list[Resource]] = {
        "\N{EN DASH}": [],
        "its event topics": [literal(catalogue.of(SingleTrialRequested).name)],
        "event topics": events,
        "topics `<application>.*` (retry tiers)": tiers,
        "each DLQ, `<topic>.<application>.dlq`": dead,
        "event topics, tiers, DLQs": [*events, *tiers, *dead],
        "groups `<application>.*`": [
            (ResourceType.GROUP, f"{settings.application}.", ResourcePatternType.PREFIXED),
        ],
        "cluster": [(ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL)],
        "topics": [(ResourceType.TOPIC, settings.topic_prefix, ResourcePatternType.PREFIXED)],
    }
    return known[text]


def literal(topic: str) -> Resource:
    return ResourceType.TOPIC, topic, ResourcePatternType.LITERAL


def grant(broker: GuardedKafka, settings: Settings, catalogue: Catalogue) -> None:
    """Give each user the rights of its row of the table."""
    rows = table()
    assert set(rows) == set(USERS.values())
    rules = [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for user, row in USERS.items()
        for text, operations in rows[row]
        for kind, name, pattern in resources(text, settings, catalogue)
        for operation in operations
    ]
    admin = AdminClient({"bootstrap.servers": broker.address})
    for answer in admin.create_acls(rules).values():
        answer.result(20)


@dataclass(frozen=True)
class Users:
    """The settings of each user."""

    broker: GuardedKafka
    environment: Mapping[str, str]

    def of(self, user: str) -> dict[str, str]:
        """Return the environment of a user's processes."""
        return {
            **self.environment,
            "STREAMS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.broker.users}",
            "STREAMS_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
            "STREAMS_KAFKA_SASL_MECHANISM": "PLAIN",
            "STREAMS_KAFKA_SASL_USERNAME": user,
            "STREAMS_KAFKA_SASL_PASSWORD": PASSWORD,
        }

    def settings(self, user: str) -> Settings:
        """Return a user's settings."""
        return settings_in(self.of(user))

    def commands(self, user: str) -> Commands:
        """Return the `streams` command of a user."""
        return Commands(self.of(user))


def may_write(settings: Settings, topic: str) -> bool:
    """Return whether a record is accepted."""
    errors: list[KafkaError | None] = []
    producer = Producer({**client_config(settings), "message.timeout.ms": 10_000, "log_level": 0})
    producer.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(15) == 0
    return is_allowed(errors[0])


def may_read(settings: Settings, topic: str) -> bool:
    """Return whether a record, or the end of the partition, is returned."""
    consumer = Consumer(
        {
            **client_config(settings),
            "group.id": f"{settings.application}.acls",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    try:
        if not is_allowed(consumer.list_topics(topic, timeout=15).topics[topic].error):
            return False
        consumer.assign([TopicPartition(topic, 0, 0)])
        (message,) = wait_for(lambda: of_topic(consumer.poll(1)), f"an answer about {topic}")
        error = message.error()
        return error is None or error.code() == KafkaError._PARTITION_EOF or is_allowed(error)
    finally:
        consumer.close()


def of_topic(message: Message | None) -> list[Message]:
    """Return a record or an error of a topic. A consumer looks for its group too, which it does not need to read."""
    error = None if message is None else message.error()
    is_of_group = error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    return [] if message is None or is_of_group else [message]


def may_create(settings: Settings, topic: str) -> bool:
    """Return whether a topic can be created."""
    admin = AdminClient({**client_config(settings), "log_level": 0})
    try:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(15)
    except KafkaException as error:
        return is_allowed(error.args[0])
    return True


def is_allowed(error: KafkaError | None) -> bool:
    """Return False if a right is missing. Any other error fails the test."""
    assert error is None or error.code() in DENIED, error
    return error is None


@pytest.mark.requirement("Faults of others", "the threat model's ACLs are enough for each principal, and no more")
@pytest.mark.timeout(240)
def test_each_principal_can_do_its_work_and_no_more(
    broker: GuardedKafka, environment: dict[str, str], settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    make_table(engine)
    catalogue, users = load_catalogue(settings), Users(broker, environment)
    grant(broker, settings, catalogue)
    applied = users.commands("deployment").run("topics", "apply")
    assert applied.returncode == 0, applied.stderr

    sent = [SingleTrialRequested(entity="a", plan="fail", times=1), SingleTrialRequested(entity="b", plan="permanent")]
    with EventProducer(users.settings("producer"), timeout=10.0) as producer:
        for event in sent:
            producer.publish(event)
        with pytest.raises(PublishError):
            producer.publish(BatchTrialRequested(entity="c"))
    with Session(engine) as session:
        Outbox(session, build_codec(settings, catalogue)).publish(BatchTrialRequested(entity="d"))
        session.commit()
    relay = RelayProcess(users.of("relay"), tmp_path / "relay")
    wait_for(lambda: scalar(engine, "select count(*) from streams.outbox") == 0, "the outbox to be relayed")

    worker = WorkerProcess(users.of("worker"), tmp_path / "worker.log").start()
    try:
        ended = "select count(*) from streams.executions where status = :status"
        wait_for(lambda: scalar(engine, ended, status="success") == 2, "the retry and the outbox's event to succeed")
        wait_for(lambda: scalar(engine, ended, status="failure") == 1, "the other event to be dead")
        shown = operate(users.commands("operator"))
        assert shown["reason"] == "permanent"
        wait_for(lambda: scalar(engine, "select count(*) from streams.dead_letters") == 2, "the replay to be dead")
        assert worker.stop() == 0
        assert relay.stop() == 0
        assert "AUTHORIZATION" not in worker.output()
    finally:
        worker.kill()
        relay.process.kill()
    lacking = {user: rights_finding(users.settings(user), catalogue) for user in USERS}
    assert {user for user, finding in lacking.items() if finding.state == "ok"} == {"worker"}
    assert lacking["operator"].text.startswith("it lacks WRITE on ")
    assert delete_settled_retries(users.settings("worker"), catalogue) > 0

    own, other = (catalogue.of(kind).name for kind in (SingleTrialRequested, BatchTrialRequested))
    places = {"event": own, "other": other, "tier": catalogue.tier("default", 1.0), "dlq": catalogue.dlq(own)}
    can = {
        user: {
            f"{what} {place}"
            for place, topic in places.items()
            for what, allowed in (("read", may_read), ("write", may_write))
            if allowed(users.settings(user), topic)
        }
        for user in USERS
    }
    of_worker = {"read event", "write event", "read other", "write other", "read tier", "write tier", "write dlq"}
    assert can == {
        "producer": {"write event"},
        "sender": set(),
        "worker": of_worker,
        "relay": {"write event", "write other", "write tier"},
        "operator": {"read event", "read other", "read tier", "read dlq"},
        "exporter": {"read event", "read other", "read tier", "read dlq"},
        "deployment": set(),
    }
    foreign = f"{settings.topic_prefix}created."
    assert [user for user in USERS if may_create(users.settings(user), foreign + user)] == ["deployment"]


def rights_finding(settings: Settings, catalogue: Catalogue) -> Finding:
    """Return what `streams doctor` says about a user's rights. Topics that it does not see are another finding."""
    found = {finding.subject: finding for finding in examine_kafka(settings, catalogue)}
    return found.get("Kafka rights") or found["topics"]


def operate(operator: Commands) -> dict[str, object]:
    """Run an operator's commands, of which the last is a replay. Returns the shown dead letter."""
    (listed,) = operator.rows("dlq", "list")
    lag = operator.run("lag", "--json")
    assert lag.returncode == 0, lag.stderr
    assert json.loads(lag.stdout)
    assert operator.run("dlq", "rebuild").returncode == 0
    shown = operator.json("dlq", "show", str(listed["id"]))
    assert isinstance(shown, dict)
    replayed = operator.run("dlq", "replay", str(listed["id"]))
    assert replayed.returncode == 0, replayed.stderr
    return shown
