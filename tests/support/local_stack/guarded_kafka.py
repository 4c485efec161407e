"""A broker that refuses all that no ACL allows, with one user per role, and the rights of these users."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from streams.local.kafka import Kafka
from streams.local.ports import allocate_ports
from streams.local.process import StartUp
from streams.operations.topics.acls import AclRule, Kind, Role
from streams.settings import Settings
from tests.integration.conftest import settings_in
from tests.support.cli import Commands
from tests.support.local_stack.cluster import admin_client
from tests.support.local_stack.stack import Stack
from tests.support.processes.worker_process import wait_for

PASSWORD = "open sesame"
PATIENCE = 120.0
"""Seconds. A broker without a CPU of its own applies its metadata late."""
STRANGER = "stranger"
"""A user without any right."""
USERS = (*Role, STRANGER)
_KINDS = {Kind.TOPIC: ResourceType.TOPIC, Kind.GROUP: ResourceType.GROUP, Kind.CLUSTER: ResourceType.BROKER}


class GuardedKafka(Kafka):
    """One broker with a listener for users. They may do nothing but what a rule allows."""

    users: int
    """The port of that listener. On the other one, everything is allowed."""

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


@contextmanager
def guarded_kafka(stack: Stack, folder: Path) -> Iterator[GuardedKafka]:
    """Run such a broker for the duration of the block."""
    ports = allocate_ports({}, ("kafka-1", "kafka-controller-1", "users"))
    kafka = GuardedKafka(folder, ports, brokers=1, cluster_id="YWNscy1jbHVzdGVyLTExMQ", cache=stack.folder / "cache")
    kafka.users = ports["users"]
    kafka.start(StartUp(lambda _: None))
    try:
        yield kafka
    finally:
        kafka.stop()


@dataclass(frozen=True)
class Users:
    """The settings of each user on a guarded broker."""

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

    def commands(self, user: str, **environment: str) -> Commands:
        """Return the `streams` command of a user."""
        return Commands({**self.of(user), **environment})


def grant(broker: GuardedKafka, user: str, rules: Iterable[AclRule]) -> None:
    """Give rights to a user. Returns when the broker knows them."""
    wanted = [binding for rule in rules for binding in _bindings(user, rule)]
    admin = admin_client(broker.address)
    for answer in admin.create_acls(wanted).values():
        answer.result(20)
    wait_for(lambda: set(wanted) <= _known(broker, user), "the broker to know the rights", PATIENCE)


def revoke(broker: GuardedKafka, user: str, rule: AclRule) -> None:
    """Take rights from a user. Returns when the broker has forgotten them."""
    unwanted = _bindings(user, rule)
    admin = admin_client(broker.address)
    filters = [
        AclBindingFilter(
            one.restype,
            one.name,
            one.resource_pattern_type,
            one.principal,
            one.host,
            one.operation,
            one.permission_type,
        )
        for one in unwanted
    ]
    for answer in admin.delete_acls(filters).values():
        assert answer.result(20), "no such right"
    wait_for(lambda: not set(unwanted) & _known(broker, user), "the broker to forget the rights", PATIENCE)


@contextmanager
def without(broker: GuardedKafka, user: str, rule: AclRule, *instead: str) -> Iterator[None]:
    """Take rights from a user for the duration of the block. `instead`: the operations that it has meanwhile."""
    substitute = replace(rule, operations=instead)
    revoke(broker, user, rule)
    if instead:
        grant(broker, user, [substitute])
    try:
        yield
    finally:
        if instead:
            revoke(broker, user, substitute)
        grant(broker, user, [rule])


def _bindings(user: str, rule: AclRule) -> Sequence[AclBinding]:
    pattern = ResourcePatternType.PREFIXED if rule.prefixed else ResourcePatternType.LITERAL
    return [
        AclBinding(
            _KINDS[rule.kind], rule.name, pattern, f"User:{user}", "*", AclOperation[operation], AclPermissionType.ALLOW
        )
        for operation in rule.operations
    ]


def _known(broker: GuardedKafka, user: str) -> set[AclBinding]:
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # None is any name; confluent-kafka's annotation omits it
        ResourcePatternType.ANY,
        f"User:{user}",
        None,  # type: ignore[arg-type]  # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    return set(admin_client(broker.address).describe_acls(everything).result(20))
