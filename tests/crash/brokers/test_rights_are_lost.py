"""A broker with access rules: the right to read one topic is lost, and a sender cannot create topics."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from schemas import DocumentDeleted
from streams.local.kafka import Kafka
from streams.local.ports import allocate_ports
from streams.local.process import StartUp
from streams.publishing import EventProducer, PublishError
from streams.settings import Settings
from tests.support.local_stack.cluster import topic_names
from tests.support.local_stack.stack import Stack
from tests.support.processes.transport_worker import Scene
from tests.support.processes.worker_process import wait_for


class GuardedKafka(Kafka):
    """One broker that checks rights: what no rule names is allowed. It creates topics, as Kafka does by default."""

    def _config(self, node: int, data: Path) -> Mapping[str, str]:
        return {
            **super()._config(node, data),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
            "auto.create.topics.enable": "true",
        }


@pytest.fixture(scope="module")
def guarded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("guarded")
    ports = allocate_ports({}, ("kafka-1", "kafka-controller-1"))
    kafka = GuardedKafka(folder, ports, brokers=1, cluster_id="Z3VhcmRlZC1jbHVzdGVyMQ", cache=stack.folder / "cache")
    kafka.start(StartUp(lambda _: None))
    try:
        environment = {**stack.environment, "STREAMS_KAFKA_BOOTSTRAP_SERVERS": kafka.address}
        yield Stack(environment, folder, stack.database_admin_url)
    finally:
        kafka.stop()


def deny(admin: AdminClient, topic: str, operation: AclOperation) -> None:
    """Deny one operation on a topic; the others stay allowed."""
    rules = [
        AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", what, permission)
        for what, permission in ((AclOperation.ALL, AclPermissionType.ALLOW), (operation, AclPermissionType.DENY))
    ]
    for answer in admin.create_acls(rules).values():
        answer.result(10)


def allow(admin: AdminClient, topic: str) -> None:
    """Remove the rules that deny something."""
    kind, names, deny_only = ResourceType.TOPIC, ResourcePatternType.LITERAL, AclPermissionType.DENY
    denied = AclBindingFilter(kind, topic, names, "User:ANONYMOUS", "*", AclOperation.ANY, deny_only)
    for answer in admin.delete_acls([denied]).values():
        answer.result(10)


@pytest.mark.requirement("Faults of others", "c18a: a lost right to read one topic stops this topic alone")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("protocol", "operation"),
    [
        ("cooperative", AclOperation.READ),
        ("consumer", AclOperation.READ),
        ("consumer", AclOperation.DESCRIBE),
    ],
)
def test_the_topics_that_may_be_read_go_on(
    guarded: Stack, tmp_path: Path, protocol: str, operation: AclOperation
) -> None:
    """While a right is denied, also across a restart, the other topic is read. Afterwards the topic is read whole."""
    refused, other = Scene(guarded, tmp_path, partitions=1), Scene(guarded, tmp_path, partitions=1)
    admin = AdminClient({"bootstrap.servers": refused.servers})
    environment = {
        "TEST_TOPICS": f"{refused.topic},{other.topic}",
        "TEST_ONE_GROUP": "yes",
        "STREAMS_GROUP_PROTOCOL": protocol,
    }
    try:
        first = refused.start(**environment)
        refused.produce(["a-1"])
        other.produce(["b-1"])
        wait_for(lambda: len(refused.settled()) == 2, "both topics are read", 60)
        wait_for(lambda: refused.committed() == [1], "and committed: later, a commit would be refused", 10)
        deny(admin, refused.topic, operation)
        if operation is AclOperation.READ:
            refused.produce(["a-2"])
            wait_for(lambda: refused.topic in first.state()["activity"][0]["unreadable"], "the fault is known", 20)
        other.produce(["b-2"])
        wait_for(lambda: "b-2" in refused.settled(), "the other topic goes on", 20)
        assert first.terminate() == 0
        second = refused.start(**environment)
        other.produce(["b-3"])
        wait_for(lambda: "b-3" in refused.settled(), "it goes on after a restart", 60)
        wait_for(lambda: refused.topic in second.state()["activity"][0]["unreadable"], "the fault is known", 20)
        assert "a topic cannot be read" in second.text()
        allow(admin, refused.topic)
        refused.produce(["a-3"])
        wait_for(lambda: "a-3" in refused.settled(), "the topic is read again", 40)
        wait_for(lambda: second.state()["activity"][0]["unreadable"] == {}, "the fault has ended", 30)
        assert refused.settled()["a-1"] == 1
        assert second.process.poll() is None
    finally:
        allow(admin, refused.topic)
        refused.end()


@pytest.mark.requirement("Faults of others", "c18b: a sender never creates a topic with the broker's defaults")
def test_a_sender_creates_no_topic(guarded: Stack, settings: Settings) -> None:
    """The broker would create it with one partition and its own retention. The sender says what to run instead."""
    servers = guarded.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]
    here = settings.model_copy(update={"kafka_bootstrap_servers": servers})
    event = DocumentDeleted(tenant_id="t", document_id="d", dataset_id="s", doc_form="text_model")
    with EventProducer(here, timeout=4.0) as producer, pytest.raises(PublishError, match="streams topics apply"):
        producer.publish(event)
    assert not [name for name in topic_names(servers) if name.endswith("document.deleted")]
