"""Topics, retry topics, groups and rights of the rendered objects are those of the code."""

import tomllib
from dataclasses import dataclass

import pytest
import yaml

from streams.agents.built_in import HANDLERS
from streams.operations.doctor.kafka_rights import needed_rights
from streams.operations.topics.acls import Role, rules_of, strimzi_user
from streams.operations.topics.plan import desired_topics
from streams.runtime.declarations import topics_to_read
from streams.runtime.overrides import Overrides, apply_to_topics
from streams.settings import Settings
from streams.topics import BUILT_IN, POOLS, Catalogue
from tests.support.chart.object_schemas import KUBERNETES, problems
from tests.support.chart.pods import containers, settings_of
from tests.support.chart.render import Object, example, of_kind
from tests.support.pages import page

SECTION = "Kubernetes"
WITH_TOPICS = pytest.mark.parametrize("name", ["strimzi-topics", "strimzi-users", "strimzi", "everything"])
WITH_TRIGGERS = pytest.mark.parametrize(
    "name", ["keda", "keda-login", "managed-kafka", "strimzi-users", "own-handlers", "everything"]
)


@dataclass(frozen=True)
class Deployment:
    """An example with the settings and the catalogue of its workers."""

    objects: tuple[Object, ...]
    settings: Settings
    catalogue: Catalogue


def deployed(name: str) -> Deployment:
    found = example(name)
    worker = next(one for one in containers(found) if one.spec["command"][0] == "faust")
    settings = settings_of(worker, found)
    files = [one["data"]["overrides.toml"] for one in of_kind(found, "ConfigMap") if "overrides.toml" in one["data"]]
    overrides = Overrides.model_validate(tomllib.loads(files[0]) if files else {})
    return Deployment(found, settings, Catalogue(apply_to_topics(BUILT_IN, overrides), settings))


@pytest.mark.requirement(SECTION, "KafkaTopics are the topics that `topics apply` would make")
@WITH_TOPICS
def test_the_topics_are_those_of_the_code(name: str) -> None:
    of = deployed(name)
    replicas = {one["spec"]["replicas"] for one in of_kind(of.objects, "KafkaTopic")}
    settings = of.settings.model_copy(update={"replication_factor": replicas.pop()})
    assert not replicas
    wanted = {spec.name: (spec.partitions, dict(spec.config)) for spec in desired_topics(of.catalogue, settings, 3)}
    rendered = {
        one["spec"]["topicName"]: (one["spec"]["partitions"], one["spec"]["config"])
        for one in of_kind(of.objects, "KafkaTopic")
    }
    assert rendered == wanted
    assert all(
        one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for one in of_kind(of.objects, "KafkaTopic")
    ), "uninstalling a release must not delete events"


@pytest.mark.requirement(SECTION, "the job `topics apply` and KafkaTopics exclude each other")
def test_topics_have_one_owner() -> None:
    for name in ("minimal", "strimzi-topics"):
        jobs = {one["metadata"]["name"].rpartition("-")[2] for one in of_kind(example(name), "Job")}
        assert ("topics" in jobs) != bool(of_kind(example(name), "KafkaTopic"))
        assert "database" in jobs


@pytest.mark.requirement(SECTION, "trigger → topic that exists: one per topic and retry tier, never a DLQ")
@WITH_TRIGGERS
def test_each_pool_has_a_trigger_per_topic_and_retry_topic(name: str) -> None:
    of = deployed(name)
    scaled = {one["metadata"]["labels"]["event-streams/pool"]: one for one in of_kind(of.objects, "ScaledObject")}
    assert list(scaled) == [pool.name for pool in POOLS]
    own = {"own-handlers": {"high": {"order.placed", "tenant.created"}, "low": {"order.closed"}}}.get(name, {})
    read = topics_to_read(of.catalogue, HANDLERS)
    for pool in POOLS:
        kafka = [one["metadata"] for one in scaled[pool.name]["spec"]["triggers"] if one["type"] == "kafka"]
        events = {topic.name for topic in of.catalogue.in_pool(pool.name) if topic.name in read}
        wanted = events | set(of.catalogue.tiers(pool.name)) | own.get(pool.name, set())
        assert sorted(one["topic"] for one in kafka) == sorted(wanted)
        assert {one["consumerGroup"] for one in kafka} == {of.catalogue.group(pool.name)}
        assert {one["limitToPartitionsWithLag"] for one in kafka} == {"true"}
        assert {one["bootstrapServers"] for one in kafka} == {of.settings.kafka_bootstrap_servers}


@pytest.mark.requirement(
    SECTION, "no trigger names a topic without a handler: its lag would keep a pool at its maximum"
)
@WITH_TRIGGERS
def test_no_trigger_names_a_topic_that_nobody_reads(name: str) -> None:
    """Only the example with a handler of its own scales by one of them."""
    named = {
        one["metadata"]["topic"].rpartition("tenant.")[2]
        for scaled in of_kind(example(name), "ScaledObject")
        for one in scaled["spec"]["triggers"]
        if "tenant." in one["metadata"].get("topic", "")
    }
    assert named == ({"created"} if name == "own-handlers" else set())


@pytest.mark.requirement(SECTION, "triggers by lag log in as the workers do")
@WITH_TRIGGERS
def test_triggers_log_in_as_the_workers_do(name: str) -> None:
    of = deployed(name)
    protocol = of.settings.kafka_security_protocol
    known = {one["metadata"]["name"]: one["spec"] for one in of_kind(of.objects, "TriggerAuthentication")}
    for scaled in of_kind(of.objects, "ScaledObject"):
        for one in (one for one in scaled["spec"]["triggers"] if one["type"] == "kafka"):
            assert ("sasl" in one["metadata"]) == protocol.startswith("sasl_")
            assert (one["metadata"].get("tls") == "enable") == protocol.endswith("ssl")
            parameters = set[str]()
            if "authenticationRef" in one:
                spec = known[one["authenticationRef"]["name"]]
                entries = [*spec.get("secretTargetRef", []), *spec.get("env", [])]
                parameters = {entry["parameter"] for entry in entries}
            assert ({"username", "password"} <= parameters) == protocol.startswith("sasl_")
            assert not parameters & {"ca", "cert", "key"} or protocol.endswith("ssl")


@pytest.mark.requirement(SECTION, "the age of the oldest event is a second trigger; its metric exists")
@pytest.mark.parametrize("name", ["keda", "everything"])
def test_the_age_is_a_second_trigger(name: str) -> None:
    of = deployed(name)
    metrics = page("docs/reference/metrics.md").text
    for scaled in of_kind(of.objects, "ScaledObject"):
        (one,) = (one["metadata"] for one in scaled["spec"]["triggers"] if one["type"] == "prometheus")
        metric = one["query"].removeprefix("max(").partition("{")[0]
        assert f"`{metric}`" in metrics
        group = of.catalogue.group(scaled["metadata"]["labels"]["event-streams/pool"])
        assert f'consumergroup="{group}"' in one["query"]


@pytest.mark.requirement(SECTION, "at least one worker where timers and relays run")
@WITH_TRIGGERS
def test_some_pool_keeps_a_worker(name: str) -> None:
    assert any(one["spec"]["minReplicaCount"] > 0 for one in of_kind(example(name), "ScaledObject"))


@pytest.mark.requirement(SECTION, "KafkaUsers have the rights that `streams acls` prints, and no more")
@pytest.mark.parametrize("name", ["strimzi-users", "strimzi", "everything"])
@pytest.mark.parametrize("role", [Role.WORKER, Role.RELAY, Role.EXPORTER])
def test_a_user_has_the_rights_that_the_command_prints(name: str, role: Role) -> None:
    of = deployed(name)
    (user,) = (one for one in of_kind(of.objects, "KafkaUser") if one["metadata"]["name"].endswith(f"-{role}"))
    printed = yaml.safe_load(strimzi_user(rules_of(role, of.settings, of.catalogue), role, "kafka"))
    assert rules(user) == rules(printed)
    assert problems(printed, KUBERNETES[0]) == []


def rules(user: Object) -> dict[tuple[str, str, str], list[str]]:
    """Return the operations that a KafkaUser allows, by type, name and pattern of the resource."""
    acls = user["spec"]["authorization"]["acls"]
    found = {
        (rule["resource"]["type"], rule["resource"]["name"], rule["resource"]["patternType"]): rule["operations"]
        for rule in acls
    }
    assert len(found) == len(acls), "each resource has one rule"
    return {resource: sorted(operations) for resource, operations in found.items()}


@pytest.mark.requirement(SECTION, "KafkaUsers have the rights that `streams acls` prints, and no more")
def test_a_worker_has_the_rights_that_doctor_asks_for() -> None:
    of = deployed("strimzi-users")
    (user,) = (one for one in of_kind(of.objects, "KafkaUser") if one["metadata"]["name"].endswith("-worker"))
    for topic, operations in needed_rights(of.catalogue).items():
        granted = {
            operation.upper()
            for (kind, name, pattern), allowed in rules(user).items()
            for operation in allowed
            if kind == "topic" and (topic == name if pattern == "literal" else topic.startswith(name))
        }
        assert granted - {"DELETE"} == {operation.name for operation in operations}


@pytest.mark.requirement(SECTION, "overrides reach the workers, and triggers follow them")
def test_overrides_are_the_same_file_in_toml() -> None:
    found = example("own-handlers")
    files = [one["data"]["overrides.toml"] for one in of_kind(found, "ConfigMap") if "overrides.toml" in one["data"]]
    assert len(files) == 2
    assert files[0] == files[1]
    assert tomllib.loads(files[0]) == {
        "handlers": {
            "index-document": {"time_limit": "20m", "concurrency": 2, "retry": {"first": "1m", "attempts": 3}}
        },
        "topics": {"document.deleted": {"pool": "default", "partitions": 8}},
        "pools": {"high": {"concurrency": 32}},
    }
    Overrides.model_validate(tomllib.loads(files[0]))


def test_large_numbers_keep_all_digits() -> None:
    """Helm reads 134217728 as a float, whose text would be 1.34217728e+08."""
    of = deployed("own-handlers")
    assert of.settings.claim_check_max_bytes == 134_217_728
    thresholds = {
        one["metadata"]["lagThreshold"]
        for scaled in of_kind(of.objects, "ScaledObject")
        for one in scaled["spec"]["triggers"]
    }
    assert thresholds == {"2000000", "10000"}
