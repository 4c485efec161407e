"""A topic that Kafka lists without describing it: nobody takes it for a topic without partitions."""

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import ClusterMetadata

from streams.operations.doctor import kafka
from streams.operations.doctor.kafka import examine_kafka
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.topics import apply
from streams.operations.topics.apply import check_topics, plan_topics
from streams.operations.topics.plan import desired_topics
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from tests.support.kafka_records import cluster_of, described

SETTINGS = Settings()
CATALOGUE = Catalogue(BUILT_IN[:2], SETTINGS)
HIDDEN = BUILT_IN[0].name
REASON = f"Kafka does not describe {HIDDEN}: Broker: Topic authorization failed"


class Cluster:
    """A cluster with all topics, one of which is not described. It refuses to show configurations."""

    timeout = 1.0
    admin = SimpleNamespace(describe_configs=lambda *_given, **_more: {})

    def __call__(self, _settings: Settings) -> "Cluster":
        return self

    def metadata(self) -> ClusterMetadata:
        topics = [described(spec.name, [1] * spec.partitions) for spec in desired_topics(CATALOGUE, SETTINGS, 1)]
        hidden = described(HIDDEN, [], KafkaError.TOPIC_AUTHORIZATION_FAILED)
        return cluster_of([*(topic for topic in topics if topic.topic != HIDDEN), hidden])

    def answers(self, _futures: object, _what: str) -> None:
        message = "no configuration"
        raise KafkaRefusedError(message, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def test_a_worker_does_not_start_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not say that the topic has no partitions, and to apply them."""
    monkeypatch.setattr(apply, "KafkaAdmin", Cluster())
    assert check_topics(SETTINGS, CATALOGUE) == [REASON]


def test_no_partitions_are_planned_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "KafkaAdmin", Cluster())
    with pytest.raises(KafkaRefusedError, match=REASON):
        plan_topics(SETTINGS, CATALOGUE)


def test_the_doctor_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "KafkaAdmin", Cluster())
    monkeypatch.setattr(kafka, "examine_rights", lambda *_given: [])
    found = [(one.subject, one.state, one.text) for one in examine_kafka(SETTINGS, CATALOGUE)]
    assert found == [
        ("Kafka", "ok", "1 broker"),
        ("topics", "fail", REASON),
        ("Kafka configuration", "warning", "no configuration"),
    ]
