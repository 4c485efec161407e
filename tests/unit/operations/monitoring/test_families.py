"""How samples become metrics: exact ages, figures that are left out, and labels that cannot grow."""

from collections.abc import Iterable
from datetime import UTC, datetime
from random import Random

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from streams.observability.metrics import Lag
from streams.observability.outbox_metrics import OutboxDepth
from streams.operations.monitoring.exporter import exporter_families
from streams.operations.monitoring.families import KnownNames, database_families, kafka_families
from streams.operations.monitoring.sample import (
    Breaker,
    DatabaseSample,
    KafkaSample,
    OpenDeadLetters,
    Partition,
    PausedItem,
    Place,
)
from streams.operations.monitoring.source import Reading

NOW = 1_000_000.0
GROUP, TOPIC = "streams.low", "document.deleted"
OF = (("consumergroup", GROUP), ("topic", TOPIC))
NAMES = KnownNames(frozenset({TOPIC}), frozenset({"clean-document"}), frozenset({TOPIC}))
NOTHING = OutboxDepth(waiting=0, set_aside=0, oldest=None)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(families: Iterable[Metric]) -> Samples:
    """Scrape the families as Prometheus does. Two samples with the same labels fail."""

    class Once(Collector):
        def collect(self) -> Iterable[Metric]:
            return found

    found = list(families)
    registry = CollectorRegistry()
    registry.register(Once())
    parsed = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    ]
    assert len({key for key, _ in parsed}) == len(parsed)
    return dict(parsed)


def kafka(
    lags: list[Lag], oldest: dict[Place, float | None] | None = None, retention: dict[str, float] | None = None
) -> KafkaSample:
    return KafkaSample(
        at=0.0, brokers=3, partitions=[], lags=lags, members={}, oldest=oldest or {}, retention=retention or {}
    )


def database(**values: object) -> DatabaseSample:
    empty = {"outbox": NOTHING, "dead_letters": [], "schedules": [], "paused": [], "breakers": []}
    return DatabaseSample(**{**empty, **values})  # type: ignore[arg-type]  # the fields under their own names


def lag(partition: int, unsettled: int) -> Lag:
    return Lag(GROUP, TOPIC, partition, current_offset=10, end_offset=10 + unsettled, lag=unsettled)


def test_the_oldest_record_of_all_partitions_counts() -> None:
    found = samples(
        kafka_families(
            kafka([lag(0, 5), lag(1, 2)], {(TOPIC, 0): NOW - 50, (TOPIC, 1): NOW - 90}, {TOPIC: 100.0}), NAMES, NOW
        )
    )
    assert found["streams_oldest_unsettled_seconds", OF] == 90
    assert found["streams_retention_remaining_seconds", OF] == 10
    assert found["kafka_consumergroup_lag_sum", OF] == 7
    assert found["kafka_consumergroup_current_offset_sum", OF] == 20


@pytest.mark.parametrize(
    ("lags", "oldest", "expected"),
    [
        ([lag(0, 0), lag(1, 0)], {}, 0),
        ([lag(0, 3)], {(TOPIC, 0): None}, 0),
        ([lag(0, 3)], {(TOPIC, 0): NOW + 60}, 0),
        ([lag(0, 3)], {}, None),
        ([lag(0, 3), lag(1, 1)], {(TOPIC, 0): None}, None),
        ([lag(0, 3), lag(1, 1)], {(TOPIC, 1): NOW - 7}, 7),
    ],
    ids=["nothing waits", "markers only", "a clock ahead", "unknown", "one unknown", "one known"],
)
def test_an_unknown_age_is_not_zero(lags: list[Lag], oldest: dict[Place, float | None], expected: float | None) -> None:
    """0 says that every record is settled, so a record that cannot be read has no sample."""
    found = samples(kafka_families(kafka(lags, oldest, {TOPIC: 50.0}), NAMES, NOW))
    assert found.get(("streams_oldest_unsettled_seconds", OF)) == expected


def test_retention_that_has_passed_is_zero_and_endless_retention_is_left_out() -> None:
    late = kafka([lag(0, 1)], {(TOPIC, 0): NOW - 500}, {TOPIC: 100.0})
    assert samples(kafka_families(late, NAMES, NOW))["streams_retention_remaining_seconds", OF] == 0
    endless = kafka([lag(0, 1)], {(TOPIC, 0): NOW - 500})
    assert ("streams_retention_remaining_seconds", OF) not in samples(kafka_families(endless, NAMES, NOW))


@pytest.mark.requirement(
    "Metrics", "a topic without a handler has no lag and no age, which would page and scale for ever"
)
def test_a_topic_without_a_handler_only_shows_its_records() -> None:
    """Its events wait on purpose. Retry tiers and the topics that a handler reads have lag and age."""
    tier, unread = "streams.low.retry.1m", "tenant.created"
    lags = [
        Lag(GROUP, topic, partition, current_offset=0, end_offset=4, lag=4)
        for topic in (TOPIC, tier, unread)
        for partition in (0, 1)
    ]
    oldest: dict[Place, float | None] = {(lag.topic, lag.partition): NOW - 500 for lag in lags}
    names = KnownNames(frozenset({TOPIC, unread}), frozenset(), frozenset({TOPIC}))
    found = samples(kafka_families(kafka(lags, oldest, {TOPIC: 900.0, unread: 900.0}), names, NOW))
    of_groups = {dict(labels)["topic"] for _, labels in found if {"consumergroup", "topic"} <= dict(labels).keys()}
    assert of_groups == {TOPIC, tier}
    assert found["streams_records_without_handler", (("topic", unread),)] == 8
    assert [name for name, labels in found if dict(labels).get("topic") == unread] == [
        "streams_records_without_handler"
    ]


def test_before_the_handlers_are_known_no_topic_has_lag() -> None:
    """A topic without a handler would page in these seconds. The brokers' figures are there."""
    found = samples(kafka_families(kafka([lag(0, 5)], {(TOPIC, 0): NOW - 50}, {TOPIC: 100.0}), None, NOW))
    assert {name for name, _ in found} == {"kafka_brokers"}


def test_a_partition_without_a_leader_has_no_offsets() -> None:
    sample = KafkaSample(
        at=0.0,
        brokers=2,
        partitions=[
            Partition(TOPIC, 0, None, None, under_replicated=True),
            Partition(TOPIC, 1, 3, 9, under_replicated=False),
        ],
        lags=[],
        members={GROUP: 2},
        oldest={},
        retention={},
    )
    found = samples(kafka_families(sample, NAMES, NOW))
    first, second = ((("partition", str(number)), ("topic", TOPIC)) for number in (0, 1))
    assert ("kafka_topic_partition_current_offset", first) not in found
    assert found["kafka_topic_partition_under_replicated_partition", first] == 1
    assert found["kafka_topic_partition_current_offset", second] == 9
    assert found["kafka_topic_partition_oldest_offset", second] == 3
    assert found["kafka_topic_partitions", (("topic", TOPIC),)] == 2
    assert found["kafka_consumergroup_members", (("consumergroup", GROUP),)] == 2


def test_the_age_of_the_outbox_grows_between_two_samples() -> None:
    sample = database(outbox=OutboxDepth(waiting=4, set_aside=1, oldest=NOW - 30))
    assert samples(database_families(sample, NAMES, NOW))["streams_outbox_oldest_seconds", ()] == 30
    assert samples(database_families(sample, NAMES, NOW + 5))["streams_outbox_oldest_seconds", ()] == 35


@pytest.mark.requirement("Metrics", "a fuzz of 10,000 topics, handlers, reasons and tenants adds no series")
def test_names_of_rows_and_records_add_no_series() -> None:
    """Also hostile ones: quotes, line breaks, a megabyte, what looks like another label."""
    random = Random(1)
    hostile = ['a"} 1\nstreams_fake{x="', "\x00", "☃" * 1000, "x" * 1_000_000, "", "\\"]

    def name() -> str:
        return random.choice(hostile) if random.random() < 0.01 else f"n{random.random()}"

    now = datetime.now(tz=UTC)
    sample = database(
        dead_letters=[OpenDeadLetters(name(), name(), name(), 1) for _ in range(10_000)],
        paused=[PausedItem(random.choice(["topic", "handler", "tenant"]), name(), now) for _ in range(10_000)],
        breakers=[Breaker("x" * 10_000, 1, 1, name())],
    )
    found = samples(database_families(sample, NAMES, NOW))
    assert sum(1 for key, _ in found if key == "streams_dead_letters_open") <= 2
    assert sum(value for (key, _), value in found.items() if key == "streams_dead_letters_open") == 10_000
    paused = {labels: value for (key, labels), value in found.items() if key == "streams_paused"}
    assert len(paused) <= 4
    assert paused[("kind", "tenant"), ("name", "")] > 1
    assert sum(len(str(labels)) for _, labels in found) < 5_000


def test_known_names_keep_their_labels() -> None:
    sample = database(
        dead_letters=[
            OpenDeadLetters(TOPIC, "clean-document", "permanent", 3),
            OpenDeadLetters(TOPIC, "", "decode", 2),
        ]
    )
    found = samples(database_families(sample, NAMES, NOW))
    assert (
        found["streams_dead_letters_open", (("handler", "clean-document"), ("reason", "permanent"), ("topic", TOPIC))]
        == 3
    )
    assert found["streams_dead_letters_open", (("handler", ""), ("reason", "decode"), ("topic", TOPIC))] == 2


def test_before_the_handlers_are_known_their_names_are_left_out() -> None:
    """All of them as `unknown` would be wrong. The rest of the database's figures is there."""
    sample = database(
        dead_letters=[OpenDeadLetters(TOPIC, "clean-document", "permanent", 3)],
        paused=[PausedItem("handler", "clean-document", datetime.now(tz=UTC))],
    )
    found = samples(database_families(sample, None, NOW))
    assert {name for name, _ in found if name in {"streams_dead_letters_open", "streams_paused"}} == set()
    assert found["streams_outbox_waiting", ()] == 0


def test_a_source_that_does_not_answer_has_no_figures() -> None:
    """The other one keeps its own."""
    failed: Reading[KafkaSample] = Reading(None, "no broker answers", 10.0, 0.0)
    found = samples(exporter_families(failed, Reading(database(), None, 0.5, 0.0), NAMES, NOW))
    assert found["streams_exporter_up", (("source", "kafka"),)] == 0
    assert found["streams_exporter_up", (("source", "database"),)] == 1
    assert found["streams_exporter_collection_seconds", (("source", "kafka"),)] == 10
    assert found["streams_outbox_waiting", ()] == 0
    assert not any(name.startswith("kafka_") for name, _ in found)
    before = samples(exporter_families(None, None, NAMES, NOW))
    assert before["streams_exporter_up", (("source", "kafka"),)] == 0
