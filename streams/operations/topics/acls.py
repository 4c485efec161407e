"""The rights in Kafka that each kind of process needs, and nothing more. They come from the catalogue.

Kafka has rules for one name and for a prefix, none for an ending: so each DLQ has its own rule. A right that another
one contains is left out: READ, WRITE, DELETE and ALTER contain DESCRIBE, and ALTER_CONFIGS contains DESCRIBE_CONFIGS.
A test gives exactly these rights to each role on a broker that refuses everything else. Another one takes each away.
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
    match role:
        case Role.PRODUCER:
            own = names if events is None else [catalogue.of(event).name for event in events]
            return _topics(own, "WRITE")
        case Role.RELAY:
            return [*_topics(names, "WRITE"), *_tiers(catalogue, "WRITE")]
        case Role.WORKER:
            return [
                *_topics(names, "READ", "WRITE"),
                *_tiers(catalogue, "READ", "WRITE", "DELETE"),
                *_topics(dead, "WRITE"),
                _groups(settings, "READ"),
            ]
        case Role.EXPORTER:
            read = ("READ", "DESCRIBE_CONFIGS")
            counted = _topics(dead, "DESCRIBE")
            return [*_topics(names, *read), *_tiers(catalogue, *read), *counted, _groups(settings, "DESCRIBE")]
        case Role.OPERATOR:
            read_all = [*_topics(names, "READ"), *_tiers(catalogue, "READ"), *_topics(dead, "READ")]
            return [*read_all, _groups(settings, "DESCRIBE")]
        case Role.DEPLOYMENT:
            operations = ("CREATE", "ALTER", "ALTER_CONFIGS", "DELETE")
            all_topics = [*_topics([*names, *dead], *operations), *_tiers(catalogue, *operations)]
            if prefix := settings.topic_prefix:
                all_topics = [AclRule(Kind.TOPIC, prefix, operations, prefixed=True)]
            return [*all_topics, _groups(settings, "DESCRIBE")]


def _topics(names: Iterable[str], *operations: str) -> list[AclRule]:
    return [AclRule(Kind.TOPIC, name, operations) for name in names]


def _tiers(catalogue: Catalogue, *operations: str) -> list[AclRule]:
    """Return a rule for each pool's retry topics, those of former delays included."""
    return [AclRule(Kind.TOPIC, catalogue.tier_prefix(pool), operations, prefixed=True) for pool in POOL_NAMES]


def _groups(settings: Settings, operation: str) -> AclRule:
    """Return the rule for the pools' groups, and for the names that readers without a group tell the brokers."""
    return AclRule(Kind.GROUP, f"{settings.application}.", (operation,), prefixed=True)


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
        "apiVersion: kafka.strimzi.io/v1",
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
