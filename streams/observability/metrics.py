"""The Prometheus metrics: deliveries, retries, dead letters, the outbox, and the lag of owned partitions.

Labels name topics, groups and handlers, never events or tenants: so the catalogue limits the number of series. A name
that only a record gives is never the value of a label: `UNKNOWN` stands for it. Children are cached, since looking up a
label takes ten times as long as the increment.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.observability.group_metrics import GroupCollector, GroupCounts
from streams.settings import Settings

Outcome = Literal["success", "duplicate", "retry", "deferred", "dead"]
"""The outcome of a delivery's attempt. `duplicate`: the work was already done, nothing ran."""

UNKNOWN = "unknown"
"""The value of a label for a topic or a handler that this version does not have."""

REGISTRY = CollectorRegistry()
"""The process's metrics. They are separate from the client library's global registry, so that nothing mixes in."""
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_DELIVERY = ("topic", "consumergroup", "handler")
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_AGES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)

_deliveries = Counter(
    "streams_deliveries_total", "Attempts by their outcome.", (*_DELIVERY, "outcome"), registry=REGISTRY
)
_retries = Counter("streams_retries_total", "Records sent to a retry tier.", ("tier", "handler"), registry=REGISTRY)
_dead = Counter(
    "streams_dead_letters_total",
    "Records sent to a DLQ; the handler is empty if the record could not be decoded, and unknown if there is none.",
    ("topic", "handler", "reason"),
    registry=REGISTRY,
)
_slots = Counter(
    "streams_schedule_slots_total",
    "Slots of schedules by what became of them: pending when claimed, then success or failure; missed or skipped.",
    ("schedule", "status"),
    registry=REGISTRY,
)
_in_flight = Gauge("streams_deliveries_in_flight", "Deliveries that are running.", ("pool",), registry=REGISTRY)
_window = Gauge(
    "streams_deliveries_waiting", "Deliveries in the worker's window that do not run yet.", ("pool",), registry=REGISTRY
)
_leases_lost = Counter(
    "streams_leases_lost_total", "Long deliveries whose lease expired while they ran.", ("handler",), registry=REGISTRY
)

_breaker_open = Gauge(
    "streams_breaker_open",
    "1 while work waits for a dependency that does not answer.",
    ("dependency",),
    registry=REGISTRY,
)

outbox_relayed = Counter("streams_outbox_relayed_total", "Outbox rows that Kafka acknowledged.", registry=REGISTRY)
outbox_failed = Counter(
    "streams_outbox_failed_total", "Outbox rows that Kafka rejected and that were set aside.", registry=REGISTRY
)


class Observations:
    """Counts seconds by bucket, several at once. The library's histogram takes too long for each small handler."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: Iterable[float]) -> None:
        """Count these values. Negative values, from clocks that differ, count as 0."""
        counts, bounds = self._counts, self._bounds
        for one in seconds:
            counts[bisect_left(bounds, one)] += 1
            if one > 0:
                self._sum += one

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Return for each bucket the upper bound and the number of values up to it, and the sum of all values."""
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum


class DeliveryHistogram(Collector):
    """The observations of every handler on a topic. Prometheus reads them at each scrape."""

    def __init__(self, name: str, help_text: str, bounds: Sequence[float]) -> None:
        self._name, self._help, self._bounds = name, help_text, bounds
        self._found: dict[tuple[str, str, str], Observations] = {}
        REGISTRY.register(self)

    def of(self, labels: tuple[str, str, str]) -> Observations:
        """Return the observations of a handler on a topic."""
        return self._found.setdefault(labels, Observations(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """Yield one histogram per handler and topic."""
        family = HistogramMetricFamily(self._name, self._help, labels=_DELIVERY)
        for labels, found in self._found.items():
            buckets, total = found.cumulative()
            family.add_metric(labels, buckets, total)
        yield family


_durations = DeliveryHistogram(
    "streams_delivery_duration_seconds",
    "How long a handler ran; one observation per run, also for a run with many events.",
    _DURATIONS,
)
_ages = DeliveryHistogram(
    "streams_event_age_seconds",
    "Age of an event (since occurred_at) when its delivery ended: success or dead.",
    _AGES,
)


class DeliveryMeter:
    """The metrics of one handler on one topic."""

    def __init__(self, topic: str, consumergroup: str, handler: str) -> None:
        self._labels = (topic, consumergroup, handler)
        self._outcomes: dict[Outcome, Counter] = {}
        self._durations = _durations.of(self._labels)
        self._ages = _ages.of(self._labels)

    def observe_run(self, seconds: float) -> None:
        """Record the duration of a run of the handler, whatever its outcome."""
        self._durations.observe((seconds,))

    def count_outcome(self, outcome: Outcome, deliveries: int = 1) -> None:
        """Count deliveries with this outcome."""
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = _deliveries.labels(*self._labels, outcome)
        counter.inc(deliveries)

    def observe_ages(self, ages: Iterable[float]) -> None:
        """Record the ages in seconds of the events whose deliveries ended. Negative ages count as 0."""
        self._ages.observe(ages)


@lru_cache(maxsize=4096)
def delivery_meter(topic: str, consumergroup: str, handler: str) -> DeliveryMeter:
    """Return the meter of a handler on a topic. `topic` is the origin's, for first attempts and retries alike."""
    return DeliveryMeter(topic, consumergroup, handler)


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


def schedule_slots(schedule: str, status: str) -> None:
    """Count a slot: claimed (pending), or ended with a status."""
    _slots.labels(schedule, status).inc()


@lru_cache(maxsize=16)
def in_flight(pool: str) -> Gauge:
    """Return the gauge of a pool's deliveries that are running in this process."""
    return _in_flight.labels(pool)


@lru_cache(maxsize=16)
def waiting(pool: str) -> Gauge:
    """Return the gauge of a pool's deliveries that this process has in its window and that do not run yet."""
    return _window.labels(pool)


@lru_cache(maxsize=64)
def breaker_open(dependency: str) -> Gauge:
    """Return the gauge that is 1 while work waits for a dependency, else 0."""
    return _breaker_open.labels(dependency)


@lru_cache(maxsize=1024)
def leases_lost(handler: str) -> Counter:
    """Return the counter of a long handler's runs that lost their lease."""
    return _leases_lost.labels(handler)


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of a group on one partition."""

    consumergroup: str
    topic: str
    partition: int
    current_offset: int
    """The next offset that the group reads."""
    end_offset: int
    """The offset of the next record to be written."""
    lag: int
    """The number of records that are not settled."""


class LagCollector(Collector):
    """The lag of the partitions that this process owns, with kafka_exporter's names. Prometheus reads it."""

    def __init__(self, read: Callable[[], Iterable[Lag]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield one sample per partition in each of three families."""
        partition = ("topic", "partition")
        lag = GaugeMetricFamily(
            "kafka_consumergroup_lag", "Records that are not settled.", labels=("consumergroup", *partition)
        )
        current = GaugeMetricFamily(
            "kafka_consumergroup_current_offset", "The group's next offset.", labels=("consumergroup", *partition)
        )
        end = GaugeMetricFamily("kafka_topic_partition_current_offset", "The partition's end.", labels=partition)
        for sample in self._read():
            place = (sample.topic, str(sample.partition))
            lag.add_metric((sample.consumergroup, *place), sample.lag)
            current.add_metric((sample.consumergroup, *place), sample.current_offset)
            end.add_metric(place, sample.end_offset)
        yield from (lag, current, end)


_collectors: list[Collector] = []


def export_groups(
    settings: Settings, lag: Callable[[], Iterable[Lag]], counts: Callable[[], Iterable[GroupCounts]]
) -> None:
    """Export lag and counters, which the functions return at each scrape, in place of those of an earlier call.

    Lag is not exported if STREAMS_METRICS_LAG is off, since a real kafka_exporter uses the same names.
    """
    while _collectors:
        REGISTRY.unregister(_collectors.pop())
    wanted: list[Collector] = [GroupCollector(counts)]
    if settings.metrics_lag:
        wanted.append(LagCollector(lag))
    for collector in wanted:
        REGISTRY.register(collector)
        _collectors.append(collector)


def exposition() -> tuple[bytes, str]:
    """Return the page for Prometheus and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
