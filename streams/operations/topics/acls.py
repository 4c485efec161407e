"""The rights in Kafka that each kind of process needs, and nothing more. They come from the catalogue.

Kafka has rules for one name and for a prefix, none for an ending: so each DLQ has a rule of its own. A test gives
exactly these rights to each role on a broker that refuses everything else.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from schemas import Event
from streams.settings import POOL_NAMES, Settings
from streams.topics import Catalogue


class Role(StrEnum):
    """A kind of process, with the rights of its own account."""

    PRODUCER = "producer"
    """A service that publishes directly (EventProducer). One that uses the outbox needs no right in Kafka."""
    WORKER = "worker"
    RELAY = "relay"
    EXPORTER = "exporter"
    OPERATOR = "operator"
    """`streams dlq`, `streams lag`, `streams top`."""
    DEPLOYMENT = "deployment"
    """`streams topics apply`."""


class Kind(StrEnum):
    """A kind of resource, as Kafka spells it."""

    TOPIC = "topic"
    GROUP = "group"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class AclRule:
    """Operations that a role may do with one resource, or with all whose names begin so."""

    kind: Kind
    name: str
    operations: tuple[str, ...]
    """As Kafka spells them, such as `IDEMPOTENT_WRITE`."""
    prefixed: bool = False


def rules_of(
    role: Role, settings: Settings, catalogue: Catalogue, events: Iterable[type[Event]] | None = None
) -> list[AclRule]:
    """Return the rules of a role.

    Args:
        role: What the account is for.
        settings: The application's name and the prefix of topics.
        catalogue: The topics.
        events: The events that a producer publishes; None: all of the catalogue. Ignored for other roles.
    """
    names = [topic.name for topic in catalogue]
    dead = [catalogue.dlq(name) for name in names]
    tiers, groups = f"{settings.topic_prefix}{settings.application}.", f"{settings.application}."
    match role:
        case Role.PRODUCER:
            own = names if events is None else [catalogue.of(event).name for event in events]
            return _topics(own, "WRITE", "DESCRIBE")
        case Role.RELAY:
            sent = _topics(names, "WRITE", "DESCRIBE")
            tier = AclRule(Kind.TOPIC, tiers, ("WRITE", "DESCRIBE"), prefixed=True)
            return [*sent, tier, AclRule(Kind.CLUSTER, "kafka-cluster", ("IDEMPOTENT_WRITE",))]
        case Role.WORKER:
            return [
                *_topics(names, "READ", "WRITE", "DESCRIBE"),
                AclRule(Kind.TOPIC, tiers, ("READ", "WRITE", "DELETE", "DESCRIBE"), prefixed=True),
                *_topics(dead, "WRITE", "DESCRIBE"),
                AclRule(Kind.GROUP, groups, ("READ", "DESCRIBE"), prefixed=True),
                AclRule(Kind.CLUSTER, "kafka-cluster", ("IDEMPOTENT_WRITE",)),
            ]
        case Role.EXPORTER | Role.OPERATOR:
            read = ("READ", "DESCRIBE") + (("DESCRIBE_CONFIGS",) if role is Role.EXPORTER else ())
            return [
                *_topics(names, *read),
                AclRule(Kind.TOPIC, tiers, read, prefixed=True),
                *_topics(dead, *read),
                AclRule(Kind.GROUP, groups, ("DESCRIBE",), prefixed=True),
            ]
        case Role.DEPLOYMENT:
            operations = ("CREATE", "ALTER", "ALTER_CONFIGS", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS")
            if settings.topic_prefix:
                return [AclRule(Kind.TOPIC, settings.topic_prefix, operations, prefixed=True)]
            every = [*names, *dead, *(tier for pool in POOL_NAMES for tier in catalogue.tiers(pool))]
            return _topics(every, *operations)


def _topics(names: Iterable[str], *operations: str) -> list[AclRule]:
    return [AclRule(Kind.TOPIC, name, operations) for name in names]


def kafka_acls_lines(rules: Iterable[AclRule], principal: str) -> Iterator[str]:
    """Yield the arguments of `kafka-acls.sh` for each rule.

    Args:
        rules: The rules of one role.
        principal: Who gets the rights, such as `User:streams-worker`.
    """
    for rule in rules:
        resource = "--cluster" if rule.kind is Kind.CLUSTER else f"--{rule.kind} {rule.name}"
        pattern = " --resource-pattern-type prefixed" if rule.prefixed else ""
        operations = " ".join(f"--operation {_camel_case(operation)}" for operation in rule.operations)
        yield f"--add --allow-principal {principal} {operations} {resource}{pattern}"


def strimzi_user(rules: Iterable[AclRule], user: str, cluster: str) -> str:
    """Return a Strimzi `KafkaUser` with these rights, as YAML (every JSON string is one of YAML too).

    Args:
        rules: The rules of one role.
        user: The name of the user and of the resource.
        cluster: The name of Strimzi's `Kafka` resource.
    """
    lines = [
        "apiVersion: kafka.strimzi.io/v1beta2",
        "kind: KafkaUser",
        "metadata:",
        f"  name: {json.dumps(user)}",
        "  labels:",
        f"    strimzi.io/cluster: {json.dumps(cluster)}",
        "spec:",
        "  authorization:",
        "    type: simple",
        "    acls:",
    ]
    for rule in rules:
        operations = json.dumps([_camel_case(operation) for operation in rule.operations])
        lines += [f"      - operations: {operations}", "        resource:", f"          type: {rule.kind}"]
        if rule.kind is not Kind.CLUSTER:
            pattern = "prefix" if rule.prefixed else "literal"
            lines += [f"          name: {json.dumps(rule.name)}", f"          patternType: {pattern}"]
    return "\n".join(lines) + "\n"


def _camel_case(operation: str) -> str:
    """Return an operation as `kafka-acls.sh` and Strimzi spell it: `DescribeConfigs`."""
    return "".join(part.capitalize() for part in operation.split("_"))
