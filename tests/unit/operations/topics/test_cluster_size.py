"""The number of brokers decides the replicas of topics, so a broker that is down counts, too."""

import pytest

from streams.operations.kafka_admin import cluster_size
from streams.operations.topics import apply
from streams.operations.topics.apply import plan_topics
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from tests.support.kafka_records import cluster_of, described

CATALOGUE = Catalogue(BUILT_IN[:1], Settings())


@pytest.mark.parametrize(("live", "size"), [(3, 3), (2, 3), (1, 3)])
def test_a_broker_that_is_down_counts_as_long_as_it_has_replicas(live: int, size: int) -> None:
    topic = described("t", [1, 1])
    topic.partitions[0].replicas, topic.partitions[1].replicas = [1, 2], [1, 3]
    assert cluster_size(cluster_of([topic], brokers=live)) == size


def test_without_topics_the_live_brokers_count() -> None:
    assert cluster_size(cluster_of([], brokers=2)) == 2


@pytest.mark.requirement("Faults and operations", "one of three brokers killed: topics keep what makes them safe")
def test_no_topic_loses_its_minimum_of_replicas_while_a_broker_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one replica as the minimum, an acknowledged record could be lost with the next broker."""
    topic = described("another", [1])
    topic.partitions[0].replicas = [1, 2, 3]

    class Cluster:
        def __init__(self, _settings: Settings) -> None:
            self.metadata = lambda: cluster_of([topic], brokers=2)

    monkeypatch.setattr(apply, "KafkaAdmin", Cluster)
    planned = plan_topics(Settings(), CATALOGUE)
    assert {(change.spec.replication, change.spec.config["min.insync.replicas"]) for change in planned.changes} == {
        (3, "2")
    }
