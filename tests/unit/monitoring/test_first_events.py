"""Events that may happen once: queries show them, although increase() does not see the first sample of a counter."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dashboards.panels import counted
from streams.observability import metrics
from streams.observability.group_metrics import GroupCounts
from streams.observability.metrics import ComputeCollector, SlotCounts
from streams.runtime.resource_metrics import export_outcomes
from streams.settings import Settings
from tests.support.factories import a_handler
from tests.support.prometheus.exposition import samples
from tests.support.prometheus.promtool import needs_promtool, promtool
from tests.support.prometheus.queries import increased, panel_queries, rules, selectors

SECTION = "Dashboards and alerts"
HANDLER = "handler-of-this-test"
QUERIES = [*panel_queries(), *((rule.name, rule.expr) for rule in rules())]
FROM_THE_START = {
    "process_cpu_seconds_total",
    "streams_commit_failures_total",
    "streams_compute_processor_seconds_total",
    "streams_deliveries_total",
    "streams_late_acknowledgements_total",
    "streams_outbox_failed_total",
    "streams_outbox_relayed_total",
    "streams_partitions_lost_total",
    "streams_rebalances_total",
}
"""Counters that are on the page before their first event."""
AMOUNTS = {
    "streams_delivery_duration_seconds_bucket",
    "streams_delivery_processor_seconds_total",
    "streams_delivery_stage_seconds_bucket",
    "streams_delivery_stage_seconds_sum",
    "streams_event_age_seconds_bucket",
    "streams_event_loop_delay_seconds_bucket",
}
"""Counters of time: their first value is one of many, and says nothing that the number of deliveries does not say."""


@pytest.fixture
def one_event_of_each() -> Iterator[None]:
    """Count one event of each counter that begins with its first event."""
    metrics.delivery_meter("document.deleted", "shop.low", HANDLER).count_outcome("dead")
    metrics.retries("shop.low.retry.10s", HANDLER).inc()
    metrics.dead_letters("document.deleted", HANDLER, "permanent").inc()
    metrics.leases_lost(HANDLER).inc()
    metrics.drains_exceeded(["single"])
    slots = SlotCounts("clean-messages")
    slots.add_status("missed")
    slots.count()
    counts = [GroupCounts("shop.low", 4, 1, 3, 2, 5, 6, deleted_unread={"document.deleted": 8})]
    metrics.export_groups(Settings(metrics_lag=False), tuple, lambda: counts)
    yield
    metrics.export_groups(Settings(metrics_lag=False), tuple, tuple)


@pytest.mark.requirement(SECTION, "the time of a counter's creation tells a new counter from one whose scrape failed")
@pytest.mark.usefixtures("one_event_of_each")
def test_the_times_of_creation_that_queries_ask_for_are_on_the_page() -> None:
    asked = {one.metric for _, expr in QUERIES for one in selectors(expr) if one.metric.endswith("_created")}
    assert len(asked) >= 9
    page = metrics.exposition()[0].decode()
    for name in asked:
        counter = f"{name.removesuffix('_created')}_total"
        created = {tuple(sorted(one.labels.items())): one.value for one in samples(page, name)}
        counted = {tuple(sorted(one.labels.items())) for one in samples(page, counter) if one.name == counter}
        assert counted, counter
        assert created.keys() >= counted, "the labels are the same, so that `and` finds them"
        assert all(time.time() - 3600 < at <= time.time() for at in created.values()), name


@pytest.mark.requirement(SECTION, "panels and alerts show the first event of a counter, often the only one")
@pytest.mark.parametrize(("place", "expr"), QUERIES, ids=[place for place, _ in QUERIES])
def test_a_query_shows_the_first_event_of_a_counter(place: str, expr: str) -> None:
    """Other counters begin with their first event. Their query also asks when they were created."""
    asked = {one.metric for one in selectors(expr)}
    hidden = {
        metric
        for metric in increased(expr) - FROM_THE_START - AMOUNTS
        if metric.startswith("streams_") and f"{metric.removesuffix('_total')}_created" not in asked
    }
    assert hidden == set(), place


def test_counters_are_on_the_page_before_their_first_event() -> None:
    """All those that queries rely on. A delivery that has not come yet has each outcome, until it comes."""
    handler = replace(a_handler(), name=f"{HANDLER}-expected")
    export_outcomes("shop.low", {"document.deleted": [handler]})
    counts = [GroupCounts("shop.low", 0, 0, rebalances=0, lost=0, late=0, commit_failures=0)]
    metrics.export_groups(Settings(metrics_lag=False), tuple, lambda: counts)
    metrics.export(ComputeCollector(lambda: (0, 0.0, 0)))
    page = metrics.exposition()[0].decode()
    metrics.export_groups(Settings(metrics_lag=False), tuple, tuple)
    for name in FROM_THE_START:
        assert [one for one in samples(page, name) if one.name == name], name
    outcomes = {"success": 0.0, "duplicate": 0.0, "retry": 0.0, "deferred": 0.0, "dead": 0.0}
    assert outcomes_of(handler.name) == outcomes
    metrics.delivery_meter("document.deleted", "shop.low", handler.name).count_outcome("dead")
    export_outcomes("shop.low", {"document.deleted": [handler]})
    assert outcomes_of(handler.name) == outcomes | {"dead": 1.0}


@needs_promtool
@pytest.mark.parametrize(
    ("minute", "number"),
    [(100, 0), (125, 1), (185, 0), (260, 2)],
    ids=["old events", "the first event of a process", "an hour later", "more events"],
)
def test_rare_events_are_counted_by_a_panel_s_query(tmp_path: Path, minute: int, number: int) -> None:
    """An old counter whose scrape fails once, a new one that begins with its first event, and one that grows."""
    series = {
        "streams_leases_lost_total{handler='old'}": "7x60 stale 7x300",
        "streams_leases_lost_created{handler='old'}": "-86400x60 stale -86400x300",
        "streams_leases_lost_total{handler='new'}": "_x120 1x120 3x120",
        "streams_leases_lost_created{handler='new'}": "_x120 7230x240",
    }
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"round({counted('streams_leases_lost')})",
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": "{}", "value": number}],
            }
        ],
    }
    path = tmp_path / "panel.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [case]}), encoding="utf-8")
    promtool("test", "rules", str(path))


def outcomes_of(handler: str) -> dict[str, float]:
    """Return the handler's deliveries by outcome. A series that is there twice fails."""
    page = metrics.exposition()[0].decode()
    found = [
        (one.labels["outcome"], one.value)
        for one in samples(page, "streams_deliveries_total")
        if one.labels["handler"] == handler
    ]
    assert len(found) == len(dict(found))
    return dict(found)
