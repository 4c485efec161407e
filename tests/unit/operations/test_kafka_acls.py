"""The rights of each role in Kafka, and their three forms."""

import pytest
import yaml

from schemas import AppCreated
from streams.operations.topics.acls import AclRule, Kind, Role, kafka_acls_lines, rules_of, strimzi_user
from streams.runtime.declarations import build_catalogue
from streams.settings import POOL_NAMES, Settings

WORKER_RULES = [
    AclRule(Kind.TOPIC, "a.created", ("READ", "WRITE")),
    AclRule(Kind.TOPIC, "streams.", ("READ",), prefixed=True),
    AclRule(Kind.CLUSTER, "kafka-cluster", ("IDEMPOTENT_WRITE",)),
]


def covered(rules: list[AclRule], kind: Kind, name: str) -> set[str]:
    """Return the operations that rules allow on a resource."""
    fitting = [
        rule
        for rule in rules
        if rule.kind is kind and (name.startswith(rule.name) if rule.prefixed else name == rule.name)
    ]
    return {operation for rule in fitting for operation in rule.operations}


@pytest.mark.parametrize("prefix", ["", "eu."])
def test_a_worker_may_do_its_work_on_every_topic(prefix: str) -> None:
    """It reads events and tiers, writes to DLQs without reading them, and commits in its own groups only."""
    settings = Settings(topic_prefix=prefix, application="pipelines")
    catalogue = build_catalogue(settings)
    rules = rules_of(Role.WORKER, settings, catalogue)
    for topic in catalogue:
        assert covered(rules, Kind.TOPIC, topic.name) == {"READ", "WRITE"}
        assert covered(rules, Kind.TOPIC, catalogue.dlq(topic.name)) == {"WRITE"}
    for pool in POOL_NAMES:
        assert covered(rules, Kind.GROUP, catalogue.group(pool)) == {"READ"}
        for tier in catalogue.tiers(pool):
            assert covered(rules, Kind.TOPIC, tier) == {"READ", "WRITE", "DELETE"}
    assert covered(rules, Kind.GROUP, "another.high") == set()
    assert covered(rules, Kind.TOPIC, f"{prefix}pipelines.of-others") == set()
    assert covered(rules, Kind.TOPIC, "__consumer_offsets") == set()


def test_a_producer_may_write_to_its_own_topics_alone() -> None:
    settings = Settings()
    catalogue = build_catalogue(settings)
    own = rules_of(Role.PRODUCER, settings, catalogue, [AppCreated])
    assert own == [AclRule(Kind.TOPIC, catalogue.of(AppCreated).name, ("WRITE",))]
    assert len(rules_of(Role.PRODUCER, settings, catalogue)) == len(catalogue)


@pytest.mark.parametrize("role", [Role.EXPORTER, Role.OPERATOR])
def test_those_who_look_write_nothing(role: Role) -> None:
    settings = Settings()
    rules = rules_of(role, settings, build_catalogue(settings))
    assert {operation for rule in rules for operation in rule.operations} <= {"READ", "DESCRIBE", "DESCRIBE_CONFIGS"}


@pytest.mark.parametrize("prefix", ["", "eu."])
def test_a_deployment_may_touch_no_topic_of_others(prefix: str) -> None:
    settings = Settings(topic_prefix=prefix)
    catalogue = build_catalogue(settings)
    rules = rules_of(Role.DEPLOYMENT, settings, catalogue)
    for topic in catalogue:
        assert "CREATE" in covered(rules, Kind.TOPIC, topic.name)
        assert "CREATE" in covered(rules, Kind.TOPIC, catalogue.dlq(topic.name))
    former = f"{prefix}streams.high.retry.7s"
    assert "DELETE" in covered(rules, Kind.TOPIC, former), "`--prune` removes the retry topics of former delays"
    assert covered(rules, Kind.TOPIC, "others") == set()


@pytest.mark.parametrize("role", Role)
def test_no_rule_has_a_right_that_another_one_contains(role: Role) -> None:
    """Kafka lets READ, WRITE, DELETE and ALTER contain DESCRIBE, and ALTER_CONFIGS contain DESCRIBE_CONFIGS."""
    settings = Settings()
    for rule in rules_of(role, settings, build_catalogue(settings)):
        operations = {*rule.operations}
        assert len(operations) == len(rule.operations)
        assert not ("DESCRIBE" in operations and operations & {"READ", "WRITE", "DELETE", "ALTER"})
        assert not {"DESCRIBE_CONFIGS", "ALTER_CONFIGS"} <= operations


def test_lines_for_kafka_acls() -> None:
    assert list(kafka_acls_lines(WORKER_RULES, "User:w")) == [
        "--add --allow-principal User:w --operation Read --operation Write --topic a.created",
        "--add --allow-principal User:w --operation Read --topic streams. --resource-pattern-type prefixed",
        "--add --allow-principal User:w --operation IdempotentWrite --cluster",
    ]


def test_a_strimzi_user() -> None:
    user = yaml.safe_load(strimzi_user(WORKER_RULES, "w", "main"))
    assert user["metadata"] == {"name": "w", "labels": {"strimzi.io/cluster": "main"}}
    assert user["spec"]["authorization"]["acls"] == [
        {"operations": ["Read", "Write"], "resource": {"type": "topic", "name": "a.created", "patternType": "literal"}},
        {"operations": ["Read"], "resource": {"type": "topic", "name": "streams.", "patternType": "prefix"}},
        {"operations": ["IdempotentWrite"], "resource": {"type": "cluster"}},
    ]
