"""`streams topics` and `streams pools` on a real cluster."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from streams.operations.topics import apply as topic_changes
from streams.operations.topics.apply import check_topics, plan_topics
from streams.operations.topics.plan import Plan
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from tests.support.cli import Commands
from tests.support.processes.worker_process import Streams, wait_for

MakeTopic = Callable[[str, int], None]


def admin(settings: Settings) -> AdminClient:
    """Keep the client until the answer arrives: librdkafka drops requests in progress with its client."""
    return AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})


def partitions(settings: Settings) -> dict[str, int]:
    """Partition counts of this test's topics on the cluster."""
    cluster = admin(settings)
    found = cluster.list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in found.items() if name.startswith(settings.topic_prefix)}


def config(settings: Settings, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    cluster = admin(settings)
    entries = cluster.describe_configs([resource])[resource].result(10)
    return {entry.name: entry.value for entry in entries.values()}


def one_line(text: str) -> str:
    """The output of a failing command: exactly one line on stderr."""
    (line,) = text.splitlines()
    assert line.startswith("streams: ")
    return line


@pytest.mark.requirement("Commands", "`topics list`, `apply`, `check` and their fields")
def test_apply_makes_what_the_catalogue_declares(commands: Commands, settings: Settings) -> None:
    """Event topics, DLQs and tiers with their configuration. Then check agrees, and a second apply changes nothing."""
    made = commands.json("topics", "apply")
    assert isinstance(made, dict)
    catalogue = build_catalogue(settings)
    expected = {topic.name: topic.partitions for topic in catalogue}
    expected |= {catalogue.dlq(topic.name): topic.partitions for topic in catalogue}
    for pool in {topic.pool for topic in catalogue}:
        expected |= dict.fromkeys(catalogue.tiers(pool), catalogue.tier_partitions(pool))
    assert partitions(settings) == expected
    assert {row["topic"] for row in made["changes"]} == set(expected)
    tier = config(settings, catalogue.tier("low", 2.0))
    assert (tier["retention.ms"], tier["unclean.leader.election.enable"]) == ("-1", "false")
    dlq = config(settings, catalogue.dlq(catalogue.topic("document.deleted").name))
    assert dlq["errors.deadletterqueue.group.enable"] == "true"
    assert commands.json("topics", "check") == {"problems": []}
    assert plan_topics(settings, catalogue) == Plan((), ())
    assert check_topics(settings, catalogue) == []


@pytest.mark.requirement("Commands", "`topics list`, `apply`, `check` and their fields")
def test_check_fails_on_an_empty_cluster(commands: Commands, settings: Settings) -> None:
    """One line with the first problem and their number. A worker lists all missing topics in one line."""
    done = commands.run("topics", "check")
    assert done.returncode == 1
    assert "is missing; run `streams topics apply` (and " in one_line(done.stderr)
    (obstacle,) = check_topics(settings, build_catalogue(settings))
    assert obstacle.startswith("missing on the cluster: ")
    assert f"{settings.topic_prefix}document.deleted," in obstacle


@pytest.mark.parametrize("partitions", [4])
def test_apply_grows_a_topic(commands: Commands, settings: Settings, make_topic: MakeTopic) -> None:
    """A topic with fewer partitions gets the declared number. A worker would not have started before."""
    name = f"{settings.topic_prefix}document.deleted"
    make_topic(name, 1)
    start_problems = check_topics(settings, build_catalogue(settings))
    assert f"{name} has 1 partitions, but 4 are declared; run `streams topics apply`" in start_problems
    made = commands.json("topics", "apply")
    assert isinstance(made, dict)
    assert {row["change"] for row in made["changes"] if row["topic"] == name} == {"altered"}
    assert partitions(settings)[name] == 4
    assert check_topics(settings, build_catalogue(settings)) == []


@pytest.mark.requirement("Commands", "topics never shrink")
@pytest.mark.parametrize("partitions", [4])
def test_topics_never_shrink(commands: Commands, settings: Settings, make_topic: MakeTopic) -> None:
    """All other topics are created, the command fails with one line, the topic stays, and a worker does not start."""
    name = f"{settings.topic_prefix}document.deleted"
    make_topic(name, 7)
    done = commands.run("topics", "apply")
    assert done.returncode == 1
    assert f"{name} has 7 partitions, but 4 are declared: topics never shrink" in one_line(done.stderr)
    assert partitions(settings)[name] == 7
    assert f"{settings.topic_prefix}dataset.deleted" in partitions(settings)
    (obstacle,) = check_topics(settings, build_catalogue(settings))
    assert obstacle.startswith(f"{name} has 7 partitions")


@pytest.mark.requirement("Commands", "topics never shrink")
@pytest.mark.parametrize("partitions", [4])
def test_a_topic_that_somebody_creates_meanwhile_is_planned_again(
    settings: Settings, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has other partitions than declared, and the cluster did not show it when the changes were planned."""
    catalogue = build_catalogue(settings)
    name = f"{settings.topic_prefix}document.deleted"
    planned = topic_changes.plan_topics

    def plan_then_create(settings: Settings, catalogue: Catalogue) -> Plan:
        found = planned(settings, catalogue)
        if name not in partitions(settings):
            make_topic(name, 7)
        return found

    monkeypatch.setattr(topic_changes, "plan_topics", plan_then_create)
    found = topic_changes.apply_catalogue(settings, catalogue)
    (problem,) = found.problems
    assert f"{name} has 7 partitions, but" in problem
    assert name not in {change.spec.name for change in found.changes if change.create}
    assert f"{settings.topic_prefix}dataset.deleted" in {change.spec.name for change in found.changes}


def test_changed_configuration_is_found_and_repaired(commands: Commands, topics: Settings) -> None:
    """Somebody set a retention on a retry tier: deliveries could be lost."""
    tier = build_catalogue(topics).tier("low", 2.0)
    change = ConfigResource(
        ConfigResource.Type.TOPIC,
        tier,
        incremental_configs=[ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)],
    )
    cluster = admin(topics)
    cluster.incremental_alter_configs([change])[change].result(10)
    # A broker answers before it follows its own controller.
    wait_for(lambda: config(topics, tier)["retention.ms"] == "1000", "the broker to know of the change")
    done = commands.run("topics", "check")
    assert done.returncode == 1
    assert one_line(done.stderr) == f"streams: {tier} needs retention.ms=-1; run `streams topics apply`"
    assert check_topics(topics, build_catalogue(topics)) == [], "a worker can start"
    made = commands.json("topics", "apply")
    assert isinstance(made, dict)
    assert [(row["topic"], row["config"]) for row in made["changes"]] == [(tier, {"retention.ms": "-1"})]
    wait_for(lambda: config(topics, tier)["retention.ms"] == "-1", "the broker to know of the repair")


@pytest.mark.parametrize("command", [("topics", "apply"), ("lag",)])
def test_a_missing_kafka_is_one_line(environment: dict[str, str], command: tuple[str, ...]) -> None:
    """The line names the setting and comes within the request's time-out. librdkafka writes nothing."""
    nowhere = {"STREAMS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "STREAMS_KAFKA_REQUEST_TIMEOUT": "2s"}
    done = Streams({**environment, **nowhere}).run(*command, seconds=20)
    assert done.returncode == 1
    assert "127.0.0.1:1 (STREAMS_KAFKA_BOOTSTRAP_SERVERS)" in one_line(done.stderr)
    assert done.stdout == ""


def test_replication_that_the_cluster_cannot_give_is_one_line(environment: dict[str, str]) -> None:
    """Kafka's reason, and the topic."""
    done = Commands({**environment, "STREAMS_REPLICATION_FACTOR": "3"}).run("topics", "apply")
    assert done.returncode == 1
    assert "Kafka refused to create topic" in one_line(done.stderr)
    assert "replication factor of 3" in done.stderr


@pytest.mark.requirement("Commands", "`topics list`, `apply`, `check` and their fields")
def test_list_shows_what_is_in_force(environment: dict[str, str], tmp_path: Path) -> None:
    """The required fields for every topic, with overrides. No server is needed."""
    overrides = tmp_path / "overrides.toml"
    overrides.write_text(
        """
        [topics."document.deleted"]
        partitions = 12
        pool = "high"
        """,
        encoding="utf-8",
    )
    commands = Commands({**environment, "STREAMS_OVERRIDES": str(overrides)})
    rows = commands.json("topics", "list")
    assert isinstance(rows, list)
    prefix = environment["STREAMS_TOPIC_PREFIX"]
    by_topic = {row["topic"].removeprefix(prefix): row for row in rows}
    assert set(by_topic) == {topic.name for topic in BUILT_IN}
    deleted = by_topic["document.deleted"]
    assert set(deleted) == {"topic", "event", "key", "pool", "partitions", "handlers"}
    assert (deleted["event"], deleted["key"]) == ("DocumentDeleted", "document_id")
    assert (deleted["pool"], deleted["partitions"]) == ("high", 12)
    for row in rows:
        name = row["topic"].removeprefix(prefix)
        # Topics of tenants are extension points: a deployment handles them, or nobody.
        assert bool(row["handlers"]) is not name.startswith("tenant."), f"{name}: {row['handlers']}"
        for handler in row["handlers"]:
            assert set(handler) == {"name", "kind", "retry", "soft_time_limit", "time_limit"}
            assert handler["kind"] in {"single", "batch", "long"}


def test_an_override_of_a_handler_is_in_the_list(environment: dict[str, str], tmp_path: Path) -> None:
    """Limits and retry plan as in the file. An unknown name is rejected with exit code 2."""
    name = build_handlers(Settings())[0].name
    overrides = tmp_path / "overrides.toml"
    overrides.write_text(f'[handlers.{name}]\ntime_limit = "3h"\nretry = {{ attempts = 17 }}\n', encoding="utf-8")
    commands = Commands({**environment, "STREAMS_OVERRIDES": str(overrides)})
    changed = commands.json("topics", "list")
    assert isinstance(changed, list)
    (handler,) = (handler for row in changed for handler in row["handlers"] if handler["name"] == name)
    assert handler["time_limit"] == "3h"
    assert handler["retry"].startswith("17 attempts")
    overrides.write_text("[handlers.nobody]\ntime_limit = '1s'\n", encoding="utf-8")
    done = commands.run("topics", "list")
    assert done.returncode == 2
    assert "STREAMS_OVERRIDES: no handler 'nobody'; there are " in one_line(done.stderr)


@pytest.mark.requirement("Commands", "`pools`")
def test_pools(environment: dict[str, str]) -> None:
    """Name, priority, concurrency, prefetch and topics. Each topic is in one pool."""
    rows = Commands(environment).json("pools")
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == ["high", "default", "low"]
    assert [set(row) for row in rows] == [{"name", "priority", "concurrency", "prefetch", "topics"}] * 3
    prefix = environment["STREAMS_TOPIC_PREFIX"]
    shown = sorted(name.removeprefix(prefix) for row in rows for name in row["topics"])
    assert shown == sorted(topic.name for topic in BUILT_IN)
