"""The queries of dashboards and alert rules against a real worker and exporter, while events of every outcome run.

With Python alone, the metrics and labels that they name must be on the real pages. Where Prometheus is installed, it
scrapes both, and each query must return a series.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from sqlalchemy import insert

from schemas import Event
from streams.codec import build_codec
from streams.database import sync_engine
from streams.database.tables import outbox
from streams.publishing.outbox.outbox import outbox_row
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from tests.integration.conftest import Stack, make_topics, own_environment, settings_in
from tests.support.apps import observed
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested
from tests.support.cli import Commands
from tests.support.processes.exporter_process import ExporterProcess, exporting
from tests.support.processes.worker_process import WorkerProcess, publish, wait_for
from tests.support.prometheus.exposition import Exposition
from tests.support.prometheus.queries import (
    KMINION,
    OTHERS,
    TARGET_LABELS,
    Selector,
    grouped_labels,
    panel_queries,
    rules,
    selectors,
)
from tests.support.prometheus.server import PrometheusServer, is_installed, prometheus_running
from tests.support.trial_fixtures import make_table, with_trials

SECTION = "Dashboards and alerts"
pytestmark = pytest.mark.timeout(400)
LETTERS = 8
"""More than the alert about unusual dead letters needs, so that one alert is pending."""
SERIES = 180.0
"""Seconds within which each query must return a series."""
RATE = "2m"
_EVENTS = {
    "streams_deliveries_out_of_order",
    "streams_drains_exceeded",
    "streams_leases_lost",
    "streams_offsets_deleted_unread",
    "streams_schedule_slots_late",
    "streams_schedule_slots_overlapping",
}
"""Counters that begin with their first event."""
TROUBLE = {"streams_topic_unreadable", *(name + suffix for name in _EVENTS for suffix in ("_total", "_created"))}
"""Metrics without a series as long as nothing of the kind has happened. Their names must be on the page."""
KMINION_PAGE = """
# TYPE kminion_kafka_consumer_group_members gauge
kminion_kafka_consumer_group_members{group_id="shop.low"} 2
# TYPE kminion_kafka_consumer_group_topic_offset_sum gauge
kminion_kafka_consumer_group_topic_offset_sum{group_id="shop.low",topic_name="app.deleted"} 90
# TYPE kminion_kafka_consumer_group_topic_partition_lag gauge
kminion_kafka_consumer_group_topic_partition_lag{group_id="shop.low",partition_id="0",topic_name="app.deleted"} 0
kminion_kafka_consumer_group_topic_partition_lag{group_id="shop.low",partition_id="1",topic_name="app.created"} 4
# TYPE kminion_kafka_topic_high_water_mark_sum gauge
kminion_kafka_topic_high_water_mark_sum{topic_name="app.deleted"} 90
"""
"""A page in the form of kminion 2.2."""


@dataclass(frozen=True)
class Deployment:
    """A worker and an exporter."""

    worker: WorkerProcess
    exporter: ExporterProcess

    def exposition(self) -> Exposition:
        """Return what both pages have now."""
        return Exposition(process.page("/metrics")[1] for process in (self.worker, self.exporter))


@pytest.fixture(scope="module")
def deployment(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Run a worker and an exporter, and events of every outcome."""
    folder = tmp_path_factory.mktemp("observed")
    with own_environment(stack, template, folder) as own:
        environment = {**with_trials(own, folder), "STREAMS_HANDLERS": observed.__name__}
        settings = settings_in(environment)
        make_topics(settings)
        engine = sync_engine(settings)
        make_table(engine)
        worker = WorkerProcess(environment, folder / "worker.log").start()
        try:
            with exporting(environment, folder / "exporter.log") as exporter:
                exporter.wait_until_ready()
                _run_every_outcome(settings, Commands(environment))
                yield Deployment(worker, exporter)
        finally:
            worker.kill()
            engine.dispose()


def _run_every_outcome(settings: Settings, commands: Commands) -> None:
    """Publish events that succeed, are duplicates, are retried, deferred and dead, of each kind of handler."""
    commands.json("handlers", "pause", "watch-single")
    same = uuid4()
    events: list[Event] = [
        SingleTrialRequested(entity="a", event_id=same),
        SingleTrialRequested(entity="a", event_id=same),
        SingleTrialRequested(entity="b", plan="fail", times=1),
        SingleTrialRequested(entity="c", plan="compute", seconds=0.1),
        BatchTrialRequested(entity="d"),
        LongTrialRequested(entity="e"),
        *(SingleTrialRequested(entity=f"dead-{number}", plan="permanent") for number in range(LETTERS)),
    ]
    publish(settings, events)
    topic = build_catalogue(settings).topic("trial.single-requested").name
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    producer.produce(topic, b"this is no event")
    assert producer.flush(10) == 0
    codec = build_codec(settings, build_catalogue(settings))
    engine = sync_engine(settings)
    with engine.begin() as connection:
        connection.execute(insert(outbox), [outbox_row(codec.encode(BatchTrialRequested(entity="f")))])
    engine.dispose()
    arguments = ("--event", "trial.batch-requested", "--args", '{"entity": "s"}', "--every", "1s")
    commands.json("schedules", "add", "each-second", *arguments)
    _wait_for_deliveries(commands)
    # What waits now has lag, an age, and an end by retention.
    commands.json("topics", "pause", "trial.long-requested")
    publish(settings, [LongTrialRequested(entity=f"waits-{number}") for number in range(4)])


def _wait_for_deliveries(commands: Commands) -> None:
    def dead() -> bool:
        found = commands.json("dlq", "list")
        assert isinstance(found, list)
        return len(found) > LETTERS

    def succeeded() -> bool:
        found = commands.json("executions", "list", "--handler", "try-long", "--status", "success")
        assert isinstance(found, list)
        return bool(found)

    wait_for(dead, "the dead letters", 60)
    wait_for(succeeded, "the long work", 60)


def _every_query(names: str = "kafka") -> list[tuple[str, str]]:
    return [*panel_queries(names, RATE), *((rule.name, rule.expr) for rule in rules())]


@pytest.mark.requirement(SECTION, "the metrics and labels of every query are a worker's or the exporter's")
def test_queries_name_metrics_and_labels_that_exist(deployment: Deployment) -> None:
    deployment.exporter.wait_until_ready()
    found = deployment.exposition()
    missing: set[str] = set()
    for place, expr in _every_query():
        ours = [one for one in selectors(expr) if one.is_ours]
        missing |= {f"{place}: {one.metric}" for one in ours if one.metric not in found.names}
        for labels, below in [*((one.labels, [one]) for one in ours), *grouped_labels(expr)]:
            for one in below:
                if one.is_ours and one.metric in found.labels:
                    extra = labels - TARGET_LABELS - found.labels[one.metric]
                    missing |= {f"{place}: {one.metric} has no label {label}" for label in extra}
    assert sorted(missing) == []


@pytest.mark.skipif(
    not is_installed(), reason="Prometheus is not installed (Debian, Ubuntu: apt-get install prometheus)"
)
def test_each_query_returns_a_series(deployment: Deployment, tmp_path: Path) -> None:
    """Metrics that exist only in trouble are left out. A rule's condition is not met, but each of its selectors is."""
    with kminion() as kminion_port:
        targets = {
            "streams-worker": deployment.worker.port,
            "streams-exporter": deployment.exporter.port,
            "kminion": kminion_port,
        }
        with prometheus_running(tmp_path, targets) as prometheus:
            _await_series(prometheus, _wanted())


def _wanted() -> dict[str, str]:
    """Return the queries that must have a series, each with the place where it is used."""
    wanted = {one.text: place for place, expr in _every_query() for one in _selectors(expr)}
    wanted |= {rule.name: "recorded" for rule in rules() if not rule.is_alert}
    for names in ("kafka", "kminion_kafka"):
        for place, expr in panel_queries(names, RATE):
            metrics = {one.metric for one in selectors(expr)}
            if not metrics & TROUBLE and (names == "kafka" or metrics & KMINION):
                wanted[expr] = place
    return wanted


def _selectors(expr: str) -> list[Selector]:
    """Return the selectors that must have a series while events of every outcome run."""
    return [
        one
        for one in selectors(expr)
        if (one.is_ours or one.metric in OTHERS) and one.metric not in TROUBLE and "firing" not in one.text
    ]


def _await_series(prometheus: PrometheusServer, wanted: dict[str, str]) -> None:
    """Wait until each query has returned a series."""
    left = dict(wanted)

    def all_found() -> bool:
        for expr in [expr for expr in left if prometheus.query(expr)]:
            del left[expr]
        return not left

    assert left
    try:
        wait_for(all_found, "a series of each query", SERIES)
    finally:
        sys.stdout.writelines(f"no series: {place}: {expr}\n" for expr, place in left.items())


@contextmanager
def kminion() -> Iterator[int]:
    """Serve a page in kminion's form. Yields its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(KMINION_PAGE.encode())

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
