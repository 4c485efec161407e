"""Events that may happen once: queries show them, although increase() does not see the first sample of a counter."""

import time
from collections.abc import Iterator

import pytest

from streams.observability import metrics
from streams.observability.group_metrics import GroupCounts
from streams.observability.metrics import SlotCounts
from streams.settings import Settings
from tests.support.prometheus.exposition import samples
from tests.support.prometheus.queries import panel_queries, rules, selectors

SECTION = "Dashboards and alerts"
HANDLER = "handler-of-this-test"
QUERIES = [*panel_queries(), *((rule.name, rule.expr) for rule in rules())]


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
    assert len(asked) >= 3
    page = metrics.exposition()[0].decode()
    for name in asked:
        counter = f"{name.removesuffix('_created')}_total"
        created = {tuple(sorted(one.labels.items())): one.value for one in samples(page, name)}
        counted = {tuple(sorted(one.labels.items())) for one in samples(page, counter) if one.name == counter}
        assert counted, counter
        assert created.keys() >= counted, "the labels are the same, so that `and` finds them"
        assert all(time.time() - 3600 < at <= time.time() for at in created.values()), name
