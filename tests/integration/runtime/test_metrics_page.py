"""The page `/metrics` of a real worker: what it lists, and whether its numbers are those of Kafka and PostgreSQL."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from streams.settings import Settings
from streams.topics import POOLS, load_catalogue
from tests.support import reference
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested
from tests.support.cli import Commands
from tests.support.kafka_records import read_all
from tests.support.pages import page
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
SECTION = "Logs and metrics"
OF_THE_RELAY = "streams_outbox_waiting"
HANDLERS = ("try-single", "try-batch", "try-long")
STAGES = {"decode", "wait", "run", "commit", "settle"}


@dataclass(frozen=True)
class Scrape:
    """One reading of a worker's page."""

    types: Mapping[str, str]
    """Name of a metric → its type."""
    labels: Mapping[str, set[frozenset[str]]]
    """Name of a metric → the names of the labels of its samples."""
    samples: list[tuple[str, dict[str, str], float]]

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of the samples with these labels."""
        return [value for found, given, value in self.samples if found == name and labels.items() <= given.items()]

    def total(self, name: str, **labels: str) -> float:
        """Return their sum."""
        return sum(self.values(name, **labels))


def scrape(worker: WorkerProcess) -> Scrape:
    status, text = worker.page("/metrics")
    assert status == 200
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    samples: list[tuple[str, dict[str, str], float]] = []
    labels: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.append((sample.name, sample.labels, sample.value))
            name = sample.name if sample.name in types else family.name
            labels.setdefault(name, set()).add(frozenset(sample.labels) - {"le"})
    return Scrape(types, labels, samples)


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Return the type and the labels of each metric in the tables of the page about metrics, but of the exporter."""
    text = page("docs/reference/metrics.md").text
    tables = re.findall(r"<!-- generated: (?:metrics|lag|process) -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert len(tables) == 3
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for table in tables
        for name, kind, labels in row.findall(table)
    }


def run_every_outcome(settings: Settings, engine: Engine) -> None:
    """Run events of every kind and outcome to their end."""
    events = [
        SingleTrialRequested(entity="a"),
        SingleTrialRequested(entity="b", plan="fail", times=1),
        SingleTrialRequested(entity="c", plan="permanent"),
        *(BatchTrialRequested(entity=f"e{number}") for number in range(20)),
        LongTrialRequested(entity="f", plan="compute", seconds=1.0),
        LongTrialRequested(entity="g", plan="permanent"),
    ]
    for kind in (SingleTrialRequested, BatchTrialRequested, LongTrialRequested):
        publish(settings, [event for event in events if isinstance(event, kind)])
    ended = "select count(*) from streams.executions where status in ('success', 'failure')"
    wait_for(lambda: scalar(engine, ended) == len(events), "every execution to end")


@pytest.mark.requirement(SECTION, "a page lists every metric; a test holds it equal to `/metrics`")
@pytest.mark.requirement(SECTION, "histograms by stage of a delivery, processor seconds of an attempt")
def test_the_page_about_metrics_is_that_of_a_worker(trial: Settings, engine: Engine, running: WorkerProcess) -> None:
    """Names, types and labels are equal, in both directions. Every stage is observed; keys stay in order."""
    worker = running
    run_every_outcome(trial, engine)
    wait_for(lambda: OF_THE_RELAY in scrape(worker).types, "the relay to be active")
    found, listed = scrape(worker), documented()
    created = {name for name in found.types if name.endswith("_created")}
    assert {name: kind for name, kind in found.types.items() if name not in created} == {
        name: kind for name, (kind, _) in listed.items()
    }
    assert {name.removesuffix("_created") + "_total" for name in created} <= set(listed)
    wrong = {
        name: labels for name, labels in found.labels.items() if name not in created and labels != {listed[name][1]}
    }
    assert wrong == {}

    assert found.values("streams_deliveries_total", handler="clean-document") == [0.0] * 5, "it has not run"
    for handler in ("try-single", "try-batch"):
        observed = {
            stage: found.total("streams_delivery_stage_seconds_count", handler=handler, stage=stage) for stage in STAGES
        }
        assert min(observed.values()) > 0, observed
    runs = found.total("streams_delivery_stage_seconds_count", handler="try-batch", stage="run")
    assert 1 <= runs < 20, "one observation per batch"
    used = {name: found.total("streams_delivery_processor_seconds_total", handler=name) for name in HANDLERS}
    assert all(0 < seconds < 3 for seconds in used.values()), used
    computed = found.total("streams_compute_processor_seconds_total")
    assert computed > 0.02
    assert used["try-long"] >= computed - 0.2, "the attempt has the time of its compute process"
    assert found.total("streams_compute_processes") >= 1
    assert found.total("streams_compute_memory_bytes") > 1 << 20
    assert found.values("streams_deliveries_out_of_order_total")
    assert found.total("streams_deliveries_out_of_order_total") == 0
    assert found.total("streams_event_loop_delay_seconds_count") > 0
    assert found.values("streams_build_info") == [1.0]
    assert set(found.values("streams_crash_suspects")) == {0.0}


@pytest.mark.requirement(SECTION, "age of the oldest unsettled record by topic and group, exact")
def test_the_age_of_the_oldest_unsettled_record_is_that_of_kafka_s_timestamp(
    trial: Settings, running: WorkerProcess, commands: Commands
) -> None:
    """While the topic is paused, the first record holds the offset. When it runs again, nothing is unsettled."""
    worker, topic = running, load_catalogue(trial).of(SingleTrialRequested).name
    labels = {"topic": topic, "consumergroup": f"{trial.application}.default"}

    def age() -> float:
        (found,) = scrape(worker).values("streams_oldest_unsettled_seconds", **labels) or [-1.0]
        return found

    wait_for(lambda: age() == 0, "the worker to own the topic")
    commands.json("topics", "pause", topic)
    wait_for(lambda: '"message": "paused"' in worker.output(), "the worker to know")
    publish(trial, [SingleTrialRequested(entity="same key")])
    wait_for(lambda: age() > 1, "the record to be a second old")
    publish(trial, [SingleTrialRequested(entity="same key")])
    first, _ = sorted(message.timestamp()[1] / 1000 for message in read_all(trial, topic, 2))
    before = time.time()
    shown = age()
    assert before - first - 0.01 <= shown <= time.time() - first + 0.01
    commands.json("topics", "resume", topic)
    wait_for(lambda: age() == 0, "the records to be settled")


@pytest.mark.requirement(SECTION, "database connections in use by pool")
def test_the_connections_are_those_of_the_server(trial: Settings, engine: Engine, running: WorkerProcess) -> None:
    """All engines of handlers together have as many connections as PostgreSQL; the ones that sleep are in use."""
    worker = running
    sleeping = [SingleTrialRequested(entity=f"e{number}", plan="sleep", seconds=0.9) for number in range(3)]
    publish(trial, sleeping)
    open_ones = "select count(*) from pg_stat_activity where application_name = :name and datname = current_database()"

    def is_equal() -> bool:
        found = scrape(worker)
        engines = [given for name, given, _ in found.samples if name == "streams_database_connections_limit"]
        shown = sum(
            found.total("streams_database_connections", engine=one["engine"])
            for one in engines
            if one["engine"].endswith("-effects")
        )
        return shown == scalar(engine, open_ones, name=f"{trial.application}-effects") and shown >= 3

    in_use = {"engine": "default-effects", "state": "in_use"}
    wait_for(lambda: scrape(worker).total("streams_database_connections", **in_use) == 3, "three open transactions")
    wait_for(is_equal, "the numbers to be equal")
    wait_for(lambda: scrape(worker).total("streams_database_connections", **in_use) == 0, "the transactions to end")
    limit = scrape(worker).total("streams_database_connections_limit", engine="default-effects")
    assert limit == next(pool.connections or pool.concurrency for pool in POOLS if pool.name == "default")
    assert rows(engine, "select 1 from trials where handler = 'try-single'")


def test_every_metric_has_its_unit_in_its_name() -> None:
    """Base units of Prometheus. Counters of things end with what is counted, and `_total`."""
    quantities = re.compile(r"\b(age|how long|time|delay|memory|bytes|seconds)\b", re.IGNORECASE)
    counts = {"streams_drains_exceeded_total", "streams_rebalances_total", "streams_schedule_slots_late_total"}
    for name, kind, _, meaning in list(reference.metrics())[1:]:
        stem = name.strip("`")
        if kind == "histogram" or (quantities.search(meaning) and stem not in counts):
            assert re.search(r"_(seconds|bytes)(_total)?$", stem), stem
        assert (kind == "counter") == stem.endswith("_total"), stem


@pytest.fixture
def running(trial: Settings, worker: Callable[..., WorkerProcess]) -> WorkerProcess:  # noqa: ARG001 - its topics
    """Start a worker on the trial events."""
    return worker().start()
