"""What Prometheus sees: deliveries, retries, dead letters, the outbox, and the lag of owned partitions.

Labels are the topic's, group's and handler's names, never an event's or tenant's: the number of series is bounded by
the catalogue. Children are looked up once, since a label look-up costs as much as the increment ten times over.
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
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.settings import Settings

Outcome = Literal["success", "duplicate", "retry", "deferred", "dead"]
"""How a delivery's attempt was settled; `duplicate`: it was already done, nothing ran."""

REGISTRY = CollectorRegistry()
"""The process's metrics; apart from the client library's global one, so that nothing else gets among them."""
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_DELIVERY = ("topic", "consumergroup", "handler")
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_AGES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)

_deliveries = Counter(
    "streams_deliveries_total", "Attempts by how they were settled.", (*_DELIVERY, "outcome"), registry=REGISTRY
)
_retries = Counter("streams_retries_total", "Hand-overs to a retry tier.", ("tier", "handler"), registry=REGISTRY)
_dead = Counter(
    "streams_dead_letters_total",
    "Records put into a DLQ; the handler is empty where the record could not be read.",
    ("topic", "handler", "reason"),
    registry=REGISTRY,
)
_in_flight = Gauge("streams_deliveries_in_flight", "Deliveries that run now.", ("pool",), registry=REGISTRY)
_window = Gauge(
    "streams_deliveries_waiting", "Deliveries in the worker's window that do not run yet.", ("pool",), registry=REGISTRY
)
_leases_lost = Counter(
    "streams_leases_lost_total", "Long deliveries whose lease ran out while they ran.", ("handler",), registry=REGISTRY
)

_breaker_open = Gauge(
    "streams_breaker_open",
    "1 while work waits for a dependency that does not answer.",
    ("dependency",),
    registry=REGISTRY,
)

outbox_relayed = Counter("streams_outbox_relayed_total", "Outbox rows that Kafka acknowledged.", registry=REGISTRY)
outbox_failed = Counter(
    "streams_outbox_failed_total", "Outbox rows that Kafka refused for good and that were set aside.", registry=REGISTRY
)


class Observations:
    """Seconds by bucket; takes a list, for the library's histogram costs more for each than a handler may."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: Iterable[float]) -> None:
        """Count these; clocks that differ give 0."""
        counts, bounds = self._counts, self._bounds
        for one in seconds:
            counts[bisect_left(bounds, one)] += 1
            if one > 0:
                self._sum += one

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """(upper bound, how many were at most that) for each bucket, and the sum."""
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum


class DeliveryHistogram(Collector):
    """Observations of every handler on a topic, read when Prometheus asks."""

    def __init__(self, name: str, told: str, bounds: Sequence[float]) -> None:
        self._name, self._told, self._bounds = name, told, bounds
        self._found: dict[tuple[str, str, str], Observations] = {}
        REGISTRY.register(self)

    def of(self, labels: tuple[str, str, str]) -> Observations:
        """Those of a handler on a topic."""
        return self._found.setdefault(labels, Observations(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """One histogram a handler on a topic."""
        family = HistogramMetricFamily(self._name, self._told, labels=_DELIVERY)
        for labels, found in self._found.items():
            buckets, total = found.cumulated()
            family.add_metric(labels, buckets, total)
        yield family


_durations = DeliveryHistogram(
    "streams_delivery_duration_seconds",
    "How long a handler ran; one observation a run, also where it took many events.",
    _DURATIONS,
)
_ages = DeliveryHistogram(
    "streams_event_age_seconds",
    "How old an event was (since occurred_at) when its delivery was done: success or dead.",
    _AGES,
)


class DeliveryMeter:
    """The metrics of one handler on one topic."""

    def __init__(self, topic: str, consumergroup: str, handler: str) -> None:
        self._labels = (topic, consumergroup, handler)
        self._outcomes: dict[Outcome, Counter] = {}
        self._durations = _durations.of(self._labels)
        self._ages = _ages.of(self._labels)

    def ran(self, seconds: float) -> None:
        """A run of the handler ended after so long, however it ended."""
        self._durations.observe((seconds,))

    def settled(self, outcome: Outcome, deliveries: int = 1) -> None:
        """So many deliveries were settled that way."""
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = _deliveries.labels(*self._labels, outcome)
        counter.inc(deliveries)

    def done(self, ages: Iterable[float]) -> None:
        """Deliveries came to their end; their events occurred so many seconds ago (clocks that differ give 0)."""
        self._ages.observe(ages)


@lru_cache(maxsize=4096)
def delivery_meter(topic: str, consumergroup: str, handler: str) -> DeliveryMeter:
    """The one meter of a handler on a topic; `topic` is the origin's, for first attempts and retries alike."""
    return DeliveryMeter(topic, consumergroup, handler)


@lru_cache(maxsize=4096)
def retries(tier: str, handler: str) -> Counter:
    """Count of hand-overs of a handler's deliveries to a tier (its topic's name)."""
    return _retries.labels(tier, handler)


@lru_cache(maxsize=4096)
def dead_letters(topic: str, handler: str | None, reason: str) -> Counter:
    """Count of a topic's dead letters for a handler (None: the record could not be read) and reason."""
    return _dead.labels(topic, handler or "", reason)


@lru_cache(maxsize=16)
def in_flight(pool: str) -> Gauge:
    """How many deliveries of a pool run in this process."""
    return _in_flight.labels(pool)


@lru_cache(maxsize=16)
def waiting(pool: str) -> Gauge:
    """How many deliveries of a pool this process holds that do not run yet."""
    return _window.labels(pool)


@lru_cache(maxsize=64)
def breaker_open(dependency: str) -> Gauge:
    """1 while work waits for a dependency, else 0."""
    return _breaker_open.labels(dependency)


@lru_cache(maxsize=1024)
def leases_lost(handler: str) -> Counter:
    """Count of a long handler's runs that found their lease gone."""
    return _leases_lost.labels(handler)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is behind in one partition."""

    consumergroup: str
    topic: str
    partition: int
    current_offset: int
    """Where the group reads on."""
    end_offset: int
    """The offset that the next record will get."""
    lag: int
    """Records still to be settled."""


class LagCollector(Collector):
    """The lag of the partitions that this process owns, read when Prometheus asks, under kafka_exporter's names."""

    def __init__(self, read: Callable[[], Iterable[Lag]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One sample a partition in each of three families."""
        partition = ("topic", "partition")
        lag = GaugeMetricFamily(
            "kafka_consumergroup_lag", "Records still to be settled.", labels=("consumergroup", *partition)
        )
        current = GaugeMetricFamily(
            "kafka_consumergroup_current_offset", "Where the group reads on.", labels=("consumergroup", *partition)
        )
        end = GaugeMetricFamily("kafka_topic_partition_current_offset", "The partition's end.", labels=partition)
        for sample in self._read():
            place = (sample.topic, str(sample.partition))
            lag.add_metric((sample.consumergroup, *place), sample.lag)
            current.add_metric((sample.consumergroup, *place), sample.current_offset)
            end.add_metric(place, sample.end_offset)
        yield from (lag, current, end)


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """What one consumer group of this process has been through, from its start."""

    consumergroup: str
    owned: int
    paused: int
    rebalances: int
    lost: int
    late: int
    commit_failures: int


class GroupCollector(Collector):
    """The consumer groups' counters, read when Prometheus asks: the transport counts, this names."""

    def __init__(self, read: Callable[[], Iterable[GroupCounts]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One sample a group in each family."""
        counts = list(self._read())
        gauges = {
            "streams_partitions_owned": ("Partitions that this process holds.", "owned"),
            "streams_partitions_paused": ("Of those, how many wait for their records to be settled.", "paused"),
        }
        counters = {
            "streams_rebalances": ("Times that partitions came, went or were lost.", "rebalances"),
            "streams_partitions_lost": ("Partitions taken away without notice.", "lost"),
            "streams_late_acknowledgements": ("Settlements ignored, since the partition had gone.", "late"),
            "streams_commit_failures": ("Commits refused; each is tried again.", "commit_failures"),
        }
        families = (
            (GaugeMetricFamily, gauges),
            (CounterMetricFamily, counters),
        )
        for family, described in families:
            for name, (told, field) in described.items():
                metric = family(name, told, labels=("consumergroup",))
                for group in counts:
                    metric.add_metric((group.consumergroup,), getattr(group, field))
                yield metric


_collectors: list[Collector] = []


def export_groups(
    settings: Settings, lag: Callable[[], Iterable[Lag]], counts: Callable[[], Iterable[GroupCounts]]
) -> None:
    """Export what these tell at each scrape, in the place of what was exported before.

    Lag is not exported where STREAMS_METRICS_LAG is off, because a real kafka_exporter has those names.
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
    """The page for Prometheus and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
