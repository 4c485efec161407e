"""The metrics of deliveries: outcomes, duration, stages, age, processor time, order; retries and dead letters."""

import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from functools import cache, lru_cache
from typing import Literal, get_args

from prometheus_client import Counter, Gauge
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.observability.metrics.histogram import Histogram
from streams.observability.metrics.registry import REGISTRY

Outcome = Literal["success", "duplicate", "retry", "deferred", "dead"]
"""The outcome of a delivery's attempt. `duplicate`: the work was already done, nothing ran."""

_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_DELIVERY = ("topic", "consumergroup", "handler")
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_STAGES = (0.001, 0.005, 0.025, 0.1, 0.25, 1, 2.5, 10, 60, 300, 3600)
_AGES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)

_retries = Counter("streams_retries_total", "Records sent to a retry tier.", ("tier", "handler"), registry=REGISTRY)
_dead = Counter(
    "streams_dead_letters_total",
    "Records sent to a DLQ; the handler is empty if the record could not be decoded, and unknown if there is none.",
    ("topic", "handler", "reason"),
    registry=REGISTRY,
)
_in_flight = Gauge("streams_deliveries_in_flight", "Deliveries that are running.", ("pool",), registry=REGISTRY)
_window = Gauge(
    "streams_deliveries_waiting", "Deliveries in the worker's window that do not run yet.", ("pool",), registry=REGISTRY
)
_leases_lost = Counter(
    "streams_leases_lost_total", "Long deliveries whose lease expired while they ran.", ("handler",), registry=REGISTRY
)
_drains_exceeded = Counter(
    "streams_drains_exceeded_total",
    "Drains that met their time limit while work of this kind was running.",
    ("work",),
    registry=REGISTRY,
)
_durations = Histogram(
    "streams_delivery_duration_seconds",
    "How long a handler ran; one observation per run, also for a run with many events.",
    _DELIVERY,
    _DURATIONS,
)
_stages = Histogram(
    "streams_delivery_stage_seconds",
    "How long a stage took: decode, wait, run, commit or settle; one observation per chunk, unit or run.",
    ("consumergroup", "handler", "stage"),
    _STAGES,
)
_ages = Histogram(
    "streams_event_age_seconds",
    "Age of an event (since occurred_at) when its delivery ended: success or dead.",
    _DELIVERY,
    _AGES,
)


class DeliveryMeter:
    """The metrics of one handler on one topic. Call it on the event loop's thread only: it has no lock."""

    __slots__ = (
        "_ages", "_commits", "_created", "_durations", "_outcomes", "_runs", "_successes", "decodes", "labels",
        "out_of_order", "processor_seconds", "settles", "topic", "waits",
    )  # fmt: skip

    def __init__(self, topic: str, consumergroup: str, handler: str, created: float) -> None:
        """Create a meter whose counters are 0.

        Args:
            topic: The topic of the events.
            consumergroup: The consumer group.
            handler: The handler's name.
            created: Since when its counters are 0, in seconds since the epoch.
        """
        self.topic = topic
        self.labels = (topic, consumergroup, handler)
        self._created = created
        self._outcomes: dict[Outcome, int] = dict.fromkeys(_OUTCOMES, 0)
        self._durations = _durations.of(*self.labels)
        self._ages = _ages.of(*self.labels)
        self.decodes, self.waits, self._runs, self._commits, self.settles = (
            _stages.of(consumergroup, handler, stage) for stage in ("decode", "wait", "run", "commit", "settle")
        )
        self._successes = 0
        """Those that are not in the outcomes yet."""
        self.processor_seconds = 0.0
        """Processor time of the attempts."""
        self.out_of_order = 0
        """First attempts that started or came out of offset order."""

    def observe_success(
        self, run: float, commit: float, settle: float, ages: Collection[float], processor_seconds: float
    ) -> None:
        """Record a run of the handler that succeeded. It is called for each small handler, so it calls little itself.

        Args:
            run: Seconds until the handler returned.
            commit: Seconds from then until the commit.
            settle: Seconds from then until the offsets were settled.
            ages: The ages in seconds of its events.
            processor_seconds: Processor time of the run.
        """
        self._successes += len(ages)
        self.processor_seconds += processor_seconds
        self._ages.observe_all(ages)
        durations, runs, commits, settles = self._durations, self._runs, self._commits, self.settles
        took = run + commit
        durations.counts[bisect_left(_DURATIONS, took)] += 1
        durations.total += took
        runs.counts[bisect_left(_STAGES, run)] += 1
        runs.total += run
        commits.counts[bisect_left(_STAGES, commit)] += 1
        commits.total += commit
        settles.counts[bisect_left(_STAGES, settle)] += 1
        settles.total += settle

    def observe_failure(self, took: float) -> None:
        """Record the duration in seconds of a run of the handler that failed."""
        self._durations.observe(took)
        self._runs.observe(took)

    def count_outcome(self, outcome: Outcome, deliveries: int = 1) -> None:
        """Count deliveries with this outcome."""
        self._outcomes[outcome] += deliveries

    def observe_age(self, age: float) -> None:
        """Record the age in seconds of an event whose delivery ended. A negative age counts as 0."""
        self._ages.observe(age)

    def observe_ages(self, ages: Iterable[float]) -> None:
        """Record the ages in seconds of the events whose deliveries ended. Negative ages count as 0."""
        self._ages.observe_all(ages)

    def add_to(self, outcomes: CounterMetricFamily, processor: CounterMetricFamily, order: CounterMetricFamily) -> None:
        """Add the samples of this meter to the families."""
        if self._successes:
            self.count_outcome("success", self._successes)
            self._successes = 0
        for outcome, counted in self._outcomes.items():
            outcomes.add_metric((*self.labels, outcome), counted, created=self._created)
        processor.add_metric(self.labels, self.processor_seconds, created=self._created)
        order.add_metric(self.labels, self.out_of_order, created=self._created)


class DeliveryCollector(Collector):
    """The counters of all meters. Plain numbers, since the library's counter takes a lock for each increment."""

    def __init__(self) -> None:
        self.meters: list[DeliveryMeter] = []
        self.expected: dict[tuple[str, str, str], float] = {}
        """Topic, group and handler that have no meter yet → since when their outcomes are exported as 0."""
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield three counters."""
        outcomes = CounterMetricFamily(
            "streams_deliveries", "Attempts by their outcome.", labels=(*_DELIVERY, "outcome")
        )
        processor = CounterMetricFamily(
            "streams_delivery_processor_seconds",
            "Processor time of attempts: the handler's own task, and its calls in compute processes.",
            labels=_DELIVERY,
        )
        order = CounterMetricFamily(
            "streams_deliveries_out_of_order",
            "First attempts that started out of the offset order of their key, or came out of that of their partition.",
            labels=_DELIVERY,
        )
        for meter in self.meters:
            meter.add_to(outcomes, processor, order)
        for labels, created in self.expected.items():
            for outcome in _OUTCOMES:
                outcomes.add_metric((*labels, outcome), 0, created=created)
        yield from (outcomes, processor, order)


_collector = DeliveryCollector()


@cache
def delivery_meter(topic: str, consumergroup: str, handler: str) -> DeliveryMeter:
    """Return the meter of a handler on a topic. `topic` is the origin's, for first attempts and retries alike.

    The names must be declared ones: a meter stays as long as the process.
    """
    created = _collector.expected.pop((topic, consumergroup, handler), None)
    meter = DeliveryMeter(topic, consumergroup, handler, time.time() if created is None else created)
    _collector.meters.append(meter)
    return meter


def expect_deliveries(topic: str, consumergroup: str, handler: str) -> None:
    """Export 0 deliveries of each outcome from now on: rate() does not see the first value of a series.

    Only these counters begin at once. The histograms of a meter would be a hundred series for each handler.
    """
    labels = (topic, consumergroup, handler)
    if all(meter.labels != labels for meter in _collector.meters):
        _collector.expected.setdefault(labels, time.time())


@lru_cache(maxsize=4096)
def retries(tier: str, handler: str) -> Counter:
    """Return the counter of a handler's deliveries that were sent to a tier (its topic's name)."""
    return _retries.labels(tier, handler)


@lru_cache(maxsize=4096)
def dead_letters(topic: str, handler: str | None, reason: str) -> Counter:
    """Return the counter of a topic's dead letters.

    Args:
        topic: A topic of the catalogue, or `UNKNOWN`.
        handler: The name of a declared handler, or `UNKNOWN`; None: the record could not be decoded.
        reason: Why they are dead.
    """
    return _dead.labels(topic, handler or "", reason)


@lru_cache(maxsize=16)
def in_flight(pool: str) -> Gauge:
    """Return the gauge of a pool's deliveries that are running in this process."""
    return _in_flight.labels(pool)


@lru_cache(maxsize=16)
def waiting(pool: str) -> Gauge:
    """Return the gauge of a pool's deliveries that this process has in its window and that do not run yet."""
    return _window.labels(pool)


@lru_cache(maxsize=1024)
def leases_lost(handler: str) -> Counter:
    """Return the counter of a long handler's runs that lost their lease."""
    return _leases_lost.labels(handler)


def drains_exceeded(work: Iterable[str]) -> None:
    """Count a drain that met its time limit, once for each kind of the work that was still running."""
    for kind in set(work):
        _drains_exceeded.labels(kind).inc()
