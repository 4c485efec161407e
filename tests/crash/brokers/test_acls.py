"""The ACLs that `streams acls` prints are enough for each role, and no more.

The test gives them to one user per role on a broker that refuses everything else, and runs what each of them is for.
A unit test compares them with the page. Expected: an event goes from the producer, and one from the outbox, through a
retry, into the ledger or the DLQ; an operator sees and replays it; nobody can do more.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from streams.codec import build_codec
from streams.operations.doctor.finding import Finding
from streams.operations.doctor.kafka import examine_kafka
from streams.operations.topics.acls import Role, rules_of
from streams.operations.topics.tier_records import delete_settled_retries
from streams.publishing import EventProducer, Outbox, PublishError
from streams.settings import Settings
from streams.topics import Catalogue, load_catalogue
from streams.transport.kafka.client import client_config
from tests.support.apps.trials import BatchTrialRequested, SingleTrialRequested
from tests.support.cli import Commands
from tests.support.local_stack.guarded_kafka import STRANGER, USERS, GuardedKafka, Users, grant, guarded_kafka
from tests.support.local_stack.stack import Stack
from tests.support.processes.relay_process import RelayProcess
from tests.support.processes.worker_process import WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, make_table

__all__ = ["environment"]
DENIED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}


@pytest.fixture(scope="module")
def broker(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with guarded_kafka(stack, tmp_path_factory.mktemp("guarded")) as kafka:
        yield kafka


def grant_all(broker: GuardedKafka, settings: Settings, catalogue: Catalogue) -> None:
    """Give each role its rights. The producer publishes one kind of event."""
    for role in Role:
        grant(broker, role, rules_of(role, settings, catalogue, [SingleTrialRequested]))


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
    grant_all(broker, settings, catalogue)
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
        STRANGER: set(),
        "worker": of_worker,
        "relay": {"write event", "write other", "write tier"},
        "operator": {"read event", "read other", "read tier", "read dlq"},
        "exporter": {"read event", "read other", "read tier"},
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
