"""The topics that there should be, and the changes if the cluster differs."""

from dataclasses import replace

import pytest

from streams.operations.topics.plan import (
    ActualTopic,
    TopicSpec,
    desired_topics,
    missing_topics,
    plan,
    start_problems,
)
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue

SETTINGS = Settings(application="shop", partitions=4, retry_delays=(0.0, 60.0))


def desired(brokers: int = 1, settings: Settings = SETTINGS) -> dict[str, TopicSpec]:
    deleted, *others = (
        topic for topic in BUILT_IN if topic.name in {"document.deleted", "dataset.deleted", "message.created"}
    )
    topics = [replace(deleted, partitions=6), *others]
    return {spec.name: spec for spec in desired_topics(Catalogue(topics, settings), settings, brokers)}


def as_wanted(spec: TopicSpec) -> ActualTopic:
    return ActualTopic(spec.partitions, spec.replication, {**spec.config, **spec.optional, "segment.ms": "1"})


def test_every_topic_has_its_dlq_and_every_working_pool_its_tiers() -> None:
    """No topic is in the pool `default` here, so it has no tiers either."""
    assert set(desired()) == {
        "document.deleted",
        "document.deleted.shop.dlq",
        "dataset.deleted",
        "dataset.deleted.shop.dlq",
        "message.created",
        "message.created.shop.dlq",
        "shop.low.retry.0s",
        "shop.low.retry.1m",
        "shop.high.retry.0s",
        "shop.high.retry.1m",
    }


def test_partitions_and_room_of_derived_topics() -> None:
    """A tier has its pool's largest count and no retention. Tiers and DLQs have room for the added headers."""
    specs = desired()
    assert specs["document.deleted"].partitions == specs["document.deleted.shop.dlq"].partitions == 6
    assert (specs["shop.low.retry.1m"].partitions, specs["shop.high.retry.1m"].partitions) == (6, 4)
    assert specs["shop.low.retry.1m"].config["retention.ms"] == "-1"
    assert specs["shop.low.retry.1m"].config["retention.bytes"] == "-1"
    assert specs["document.deleted.shop.dlq"].config["retention.ms"] == str(30 * 86_400_000)
    event_room = int(specs["document.deleted"].config["max.message.bytes"])
    for name in ("document.deleted.shop.dlq", "shop.low.retry.1m"):
        assert int(specs[name].config["max.message.bytes"]) == event_room + 65_536


def test_replication_follows_the_number_of_brokers() -> None:
    """With three brokers or more: three replicas, and two must have a write. A setting overrides the number."""
    for brokers, replication, in_sync in ((1, 1, "1"), (2, 1, "1"), (3, 3, "2"), (5, 3, "2")):
        spec = desired(brokers)["document.deleted"]
        assert (spec.replication, spec.config["min.insync.replicas"]) == (replication, in_sync)
        assert spec.config["unclean.leader.election.enable"] == "false"
    two = desired(3, SETTINGS.model_copy(update={"replication_factor": 2}))["document.deleted"]
    assert (two.replication, two.config["min.insync.replicas"]) == (2, "1")


def test_a_cluster_as_wanted_needs_nothing() -> None:
    """Configuration that is not declared does not change."""
    specs = desired()
    planned = plan(specs.values(), {name: as_wanted(spec) for name, spec in specs.items()})
    assert planned.changes == ()
    assert planned.problems == ()


def test_missing_topics_are_made() -> None:
    """All topics on an empty cluster."""
    specs = desired()
    planned = plan(specs.values(), {})
    assert [change.spec.name for change in planned.changes] == sorted(specs)
    assert all(change.create for change in planned.changes)
    assert missing_topics(specs.values(), {"document.deleted": 6}) == sorted(set(specs) - {"document.deleted"})


def test_too_few_partitions_grow_and_too_many_are_a_problem() -> None:
    """A tier with more partitions than its pool needs does not change: the pool was larger before."""
    specs = desired()
    actual = {name: as_wanted(spec) for name, spec in specs.items()}
    actual["dataset.deleted"] = replace(actual["dataset.deleted"], partitions=2)
    actual["document.deleted"] = replace(actual["document.deleted"], partitions=8)
    actual["shop.low.retry.0s"] = replace(actual["shop.low.retry.0s"], partitions=8)
    planned = plan(specs.values(), actual)
    (change,) = planned.changes
    assert (change.spec.name, change.grow_to, change.create, change.config) == ("dataset.deleted", 4, False, {})
    (problem,) = planned.problems
    assert problem.startswith("document.deleted has 8 partitions, but 6 are declared: topics never shrink")


def test_differing_configuration_is_set_and_nothing_else() -> None:
    """Only different values are changed, and they are reported."""
    specs = desired()
    actual = {name: as_wanted(spec) for name, spec in specs.items()}
    wanted = specs["shop.low.retry.0s"]
    actual[wanted.name] = replace(as_wanted(wanted), config={**wanted.config, "retention.ms": "604800000"})
    (change,) = plan(specs.values(), actual).changes
    assert change.config == {"retention.ms": "-1"}
    assert str(change) == "shop.low.retry.0s needs retention.ms=-1"


def test_configuration_that_the_broker_does_not_know_is_not_asked_for() -> None:
    """KIP-1191's setting of a DLQ is used if the broker knows it."""
    specs = desired()
    actual = {name: as_wanted(spec) for name, spec in specs.items()}
    dlq = specs["document.deleted.shop.dlq"]
    (switch,) = dlq.optional
    actual[dlq.name] = replace(as_wanted(dlq), config=dlq.config)
    assert plan(specs.values(), actual).changes == ()
    actual[dlq.name] = replace(as_wanted(dlq), config={**dlq.config, switch: "false"})
    (change,) = plan(specs.values(), actual).changes
    assert change.config == {switch: "true"}


def test_too_few_replicas_are_a_problem() -> None:
    """Kafka has its own tool to move replicas. `apply` cannot do it."""
    specs = desired(3)
    actual = {name: as_wanted(spec) for name, spec in specs.items()}
    actual["message.created"] = replace(actual["message.created"], replication=1)
    (problem,) = plan(specs.values(), actual).problems
    assert problem.startswith("message.created has 1 replicas, 3 are wanted")


@pytest.mark.requirement("Bad input", "a missing topic: one line")
def test_what_keeps_a_worker_from_starting() -> None:
    """A missing topic, or an event topic with another partition count than declared. One line each."""
    specs = desired()
    counts = {name: spec.partitions for name, spec in specs.items()}
    assert start_problems(specs.values(), counts) == []
    del counts["shop.low.retry.0s"], counts["dataset.deleted"]
    counts |= {"document.deleted": 5, "message.created": 9, "message.created.shop.dlq": 1}
    told = start_problems(specs.values(), counts)
    assert told[0] == "missing on the cluster: dataset.deleted, shop.low.retry.0s; run `streams topics apply`"
    assert told[1] == "document.deleted has 5 partitions, but 6 are declared; run `streams topics apply`"
    assert told[2].startswith("message.created has 9 partitions, but 4 are declared: topics never shrink")
    assert len(told) == 3
    assert not any("\n" in line for line in told)
