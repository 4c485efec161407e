"""The page for Prometheus, parsed as Prometheus parses it."""

import time
from collections.abc import Iterator

import pytest

from streams.observability import metrics
from streams.observability.group_metrics import GroupCounts
from streams.observability.metrics import Lag
from streams.settings import Settings
from tests.support.prometheus.exposition import samples

Labels = dict[str, str]
STAGES = ("decode", "wait", "run", "commit", "settle")


def scraped(name: str) -> list[tuple[Labels, float]]:
    """All samples with a name on the page."""
    page, _ = metrics.exposition()
    return [(sample.labels, sample.value) for sample in samples(page.decode(), name) if sample.name == name]


def value(name: str, **labels: str) -> float:
    return next((found for given, found in scraped(name) if labels.items() <= given.items()), 0.0)


@pytest.fixture
def exported_lag() -> Iterator[None]:
    yield
    metrics.export_groups(Settings(metrics_lag=False), tuple, tuple)


@pytest.mark.requirement("Logs and metrics", "deliveries by outcome, duration, age, retries, dead letters, in flight")
def test_deliveries_are_counted_by_outcome() -> None:
    """A batch counts each of its deliveries, but only one run. Negative ages, from clocks that differ, count as 0."""
    meter = metrics.delivery_meter("message.created", "shop.high", "charge-message")
    meter.observe_success(run=0.15, commit=0.05, settle=0.001, ages=[3.0, -1.0], processor_seconds=0.1)
    meter.count_outcome("dead")
    group = {"consumergroup": "shop.high", "handler": "charge-message"}
    labels = {"topic": "message.created", **group}
    assert value("streams_deliveries_total", **labels, outcome="success") == 2
    assert value("streams_deliveries_total", **labels, outcome="dead") == 1
    assert value("streams_delivery_duration_seconds_count", **labels) == 1
    assert value("streams_delivery_duration_seconds_sum", **labels) == pytest.approx(0.2)
    assert value("streams_event_age_seconds_count", **labels) == 2
    assert value("streams_event_age_seconds_sum", **labels) == pytest.approx(3.0)
    assert value("streams_delivery_processor_seconds_total", **labels) == pytest.approx(0.1)
    stages = {stage: value("streams_delivery_stage_seconds_sum", **group, stage=stage) for stage in STAGES}
    assert stages == pytest.approx({"decode": 0.0, "wait": 0.0, "run": 0.15, "commit": 0.05, "settle": 0.001})


def test_a_meter_is_made_once() -> None:
    """A label look-up per delivery would take longer than the count."""
    assert metrics.delivery_meter("a", "b", "c") is metrics.delivery_meter("a", "b", "c")


@pytest.mark.requirement("Logs and metrics", "deliveries by outcome, duration, age, retries, dead letters, in flight")
def test_retries_dead_letters_and_the_rest_have_their_labels() -> None:
    """The names and labels that dashboards use. A worker of another test may have exported its own pools."""
    metrics.retries("shop.low.retry.10s", "clean-document").inc()
    metrics.dead_letters("document.deleted", None, "decode").inc()
    metrics.in_flight("a pool of this test").inc(3)
    metrics.waiting("a pool of this test").set(7)
    metrics.leases_lost("index-document").inc()
    assert value("streams_retries_total", tier="shop.low.retry.10s", handler="clean-document") == 1
    assert value("streams_dead_letters_total", topic="document.deleted", handler="", reason="decode") == 1
    assert value("streams_deliveries_in_flight", pool="a pool of this test") == 3
    assert value("streams_deliveries_waiting", pool="a pool of this test") == 7
    assert value("streams_leases_lost_total", handler="index-document") == 1


def test_the_outbox_is_counted() -> None:
    """Relayed and rejected rows."""
    before = value("streams_outbox_relayed_total"), value("streams_outbox_failed_total")
    metrics.outbox_relayed.inc(2)
    metrics.outbox_failed.inc()
    assert value("streams_outbox_relayed_total") == before[0] + 2
    assert value("streams_outbox_failed_total") == before[1] + 1


@pytest.mark.requirement("Logs and metrics", "lag of owned partitions under kafka_exporter's names")
@pytest.mark.usefixtures("exported_lag")
def test_lag_has_kafka_exporters_names_and_is_read_at_each_scrape() -> None:
    """Dashboards for kafka_exporter work with it. The end offset has no group label."""
    owned = [Lag("shop.low", "document.deleted", 2, current_offset=40, end_offset=100, lag=60)]
    metrics.export_groups(Settings(), lambda: owned, tuple)
    labels = {"consumergroup": "shop.low", "topic": "document.deleted", "partition": "2"}
    place = {"topic": "document.deleted", "partition": "2"}
    assert scraped("kafka_consumergroup_lag") == [(labels, 60.0)]
    assert scraped("kafka_consumergroup_current_offset") == [(labels, 40.0)]
    assert scraped("kafka_topic_partition_current_offset") == [(place, 100.0)]
    owned[0] = Lag("shop.low", "document.deleted", 2, current_offset=100, end_offset=100, lag=0)
    assert scraped("kafka_consumergroup_lag") == [(labels, 0.0)]


@pytest.mark.usefixtures("exported_lag")
def test_a_later_export_takes_the_place_of_the_former() -> None:
    """Two would give the same sample twice, which Prometheus rejects."""
    metrics.export_groups(Settings(), lambda: [Lag("a", "t", 0, 0, 5, 5)], tuple)
    metrics.export_groups(Settings(), lambda: [Lag("b", "t", 0, 0, 5, 5)], tuple)
    assert [labels["consumergroup"] for labels, _ in scraped("kafka_consumergroup_lag")] == ["b"]


@pytest.mark.usefixtures("exported_lag")
def test_a_group_s_counts_are_read_at_each_scrape_under_our_names() -> None:
    """Gauges for the current state, counters for events."""
    counts = [GroupCounts("shop.low", owned=4, paused=1, rebalances=3, lost=2, late=5, commit_failures=6)]
    metrics.export_groups(Settings(metrics_lag=False), tuple, lambda: counts)
    told = {
        name: value(name, consumergroup="shop.low")
        for name in (
            "streams_partitions_owned",
            "streams_partitions_paused",
            "streams_rebalances_total",
            "streams_partitions_lost_total",
            "streams_late_acknowledgements_total",
            "streams_commit_failures_total",
        )
    }
    assert list(told.values()) == [4, 1, 3, 2, 5, 6]


@pytest.mark.usefixtures("exported_lag")
@pytest.mark.requirement("Logs and metrics", "age of the oldest unsettled record by topic and group, exact")
def test_the_age_of_the_oldest_unsettled_record_is_that_of_its_timestamp() -> None:
    """0 where every record is settled, or where the producer's clock is ahead; no sample where it is not known."""
    now = time.time_ns() // 1_000_000
    oldest = {"held": now - 90_000, "settled": None, "ahead": now + 60_000}
    counts = [GroupCounts("shop.low", 4, 1, 3, 2, 5, 6, oldest_unsettled=oldest)]
    metrics.export_groups(Settings(metrics_lag=False), tuple, lambda: counts)
    found = {labels["topic"]: age for labels, age in scraped("streams_oldest_unsettled_seconds")}
    assert found == pytest.approx({"held": 90.0, "settled": 0.0, "ahead": 0.0}, abs=5)


@pytest.mark.usefixtures("exported_lag")
@pytest.mark.requirement("Faults of others", "c10: what retention deleted unread is on a metric")
def test_topics_with_trouble_have_samples_of_their_own() -> None:
    """Offsets that retention deleted are counted by topic; a topic that cannot be read is 1."""
    counts = [GroupCounts("shop.low", 4, 1, 3, 2, 5, 6, deleted_unread={"a": 8}, unreadable={"b": "no right"})]
    metrics.export_groups(Settings(metrics_lag=False), tuple, lambda: counts)
    assert value("streams_offsets_deleted_unread_total", consumergroup="shop.low", topic="a") == 8
    assert value("streams_topic_unreadable", consumergroup="shop.low", topic="b") == 1


def test_lag_is_left_out_where_it_is_switched_off() -> None:
    """Then a real kafka_exporter exports these names."""
    metrics.export_groups(Settings(metrics_lag=False), lambda: [Lag("a", "t", 0, 0, 5, 5)], tuple)
    assert scraped("kafka_consumergroup_lag") == []
    page, content_type = metrics.exposition()
    assert b"kafka_" not in page
    assert content_type.startswith("text/plain")
