"""Turns samples into Prometheus metrics, with kafka_exporter's names where it has one. No I/O.

Labels are names of the catalogue, of declared handlers and of schedules. `UNKNOWN` stands for any other name, so rows
and records cannot add series.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from streams.delivery.errors import Reason
from streams.observability.metrics import UNKNOWN, Lag
from streams.operations.monitoring.sample import (
    Breaker,
    DatabaseSample,
    KafkaSample,
    OpenDeadLetters,
    PausedItem,
    Place,
)

LONGEST_LABEL = 100
"""Characters of a dependency's name. Handlers choose these names."""
_PLACE = ("topic", "partition")
_GROUP_TOPIC = ("consumergroup", "topic")


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The names that may be labels, and the topics that a handler reads."""

    topics: frozenset[str]
    """All event topics."""
    handlers: frozenset[str]
    read: frozenset[str]
    """The event topics that a handler reads. No group consumes the others."""

    def topic(self, name: str) -> str:
        """Return the topic's name, or `UNKNOWN`."""
        return name if name in self.topics else UNKNOWN

    def handler(self, name: str) -> str:
        """Return the handler's name, or `UNKNOWN`. It stays empty for a record that could not be decoded."""
        return name if name in self.handlers or not name else UNKNOWN

    def is_consumed(self, topic: str) -> bool:
        """Return whether a group consumes an event topic or a retry tier."""
        return topic in self.read or topic not in self.topics


def gauge(name: str, help_text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    """Return a gauge with one sample per tuple of labels and value."""
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def kafka_families(sample: KafkaSample, names: KnownNames | None, now: float) -> Iterator[Metric]:
    """Yield the metrics of a sample of Kafka.

    A topic without a handler has no lag and no age, since its events wait on purpose: an alert would never end. Its
    records are counted on their own.

    Args:
        sample: The sample.
        names: The topics that a handler reads. None: they are not known yet, and no topic has lag, age or retention.
        now: Seconds since the epoch: ages grow between two samples.
    """
    lags = [lag for lag in sample.lags if names is not None and names.is_consumed(lag.topic)]
    yield from _partition_families(sample)
    yield from _group_families(lags, sample.members)
    yield gauge(
        "streams_records_without_handler",
        "Records that wait in a topic without a handler.",
        ("topic",),
        () if names is None else _without_handler(sample.lags, names).items(),
    )
    oldest = _by_group_topic(lags, sample.oldest)
    yield gauge(
        "streams_oldest_unsettled_seconds",
        "Age of the oldest unsettled record, by its own timestamp; 0 if every record is settled.",
        _GROUP_TOPIC,
        ((key, 0.0 if at is None else max(0.0, now - at)) for key, at in oldest.items()),
    )
    yield gauge(
        "streams_retention_remaining_seconds",
        "Seconds until the topic's retention may delete the oldest unsettled record; only where there is one.",
        _GROUP_TOPIC,
        (
            (key, max(0.0, at + sample.retention[key[1]] - now))
            for key, at in oldest.items()
            if at is not None and key[1] in sample.retention
        ),
    )


def database_families(sample: DatabaseSample, names: KnownNames | None, now: float) -> Iterator[Metric]:
    """Yield the metrics of a sample of the database.

    Args:
        sample: The sample.
        names: The names that may be labels. None: they are not known yet, and metrics with such labels have no samples.
        now: Seconds since the epoch: ages grow between two samples.
    """
    outbox = sample.outbox
    age = 0.0 if outbox.oldest is None else max(0.0, now - outbox.oldest)
    for name, help_text, value in (
        ("waiting", "Outbox rows that can be sent, 100000 at most.", outbox.waiting),
        ("oldest_seconds", "Age of the oldest row that can be sent.", age),
        ("set_aside", "Outbox rows that Kafka rejected permanently.", outbox.set_aside),
    ):
        yield gauge(f"streams_outbox_{name}", help_text, (), [((), value)])
    yield gauge(
        "streams_dead_letters_open",
        "Dead letters that were not replayed, 100000 at most in all.",
        ("topic", "handler", "reason"),
        () if names is None else _dead_letters(sample.dead_letters, names).items(),
    )
    yield from _schedule_families(sample)
    yield gauge(
        "streams_paused",
        "1 for each topic and handler that an operator paused; the number of paused ones for other kinds.",
        ("kind", "name"),
        () if names is None else _paused(sample.paused, names).items(),
    )
    yield gauge(
        "streams_breaker_open",
        "1 while work of any worker waits for a dependency that does not answer, as workers report it.",
        ("dependency",),
        _breakers(sample.breakers).items(),
    )


def _partition_families(sample: KafkaSample) -> Iterator[Metric]:
    yield gauge("kafka_brokers", "Brokers of the cluster.", (), [((), sample.brokers)])
    counts: dict[str, int] = defaultdict(int)
    for one in sample.partitions:
        counts[one.topic] += 1
    yield gauge(
        "kafka_topic_partitions",
        "Partitions of the topic.",
        ("topic",),
        (((name,), many) for name, many in counts.items()),
    )
    places = [((one.topic, str(one.partition)), one) for one in sample.partitions]
    yield gauge(
        "kafka_topic_partition_current_offset",
        "The partition's end.",
        _PLACE,
        ((place, one.end_offset) for place, one in places if one.end_offset is not None),
    )
    yield gauge(
        "kafka_topic_partition_oldest_offset",
        "The partition's first offset.",
        _PLACE,
        ((place, one.oldest_offset) for place, one in places if one.oldest_offset is not None),
    )
    yield gauge(
        "kafka_topic_partition_under_replicated_partition",
        "1 if a replica of the partition is not in sync.",
        _PLACE,
        ((place, float(one.under_replicated)) for place, one in places),
    )


def _without_handler(lags: Iterable[Lag], names: KnownNames) -> Mapping[tuple[str], int]:
    found: dict[tuple[str], int] = defaultdict(int)
    for lag in lags:
        if not names.is_consumed(lag.topic):
            found[lag.topic,] += lag.lag
    return found


def _group_families(lags: Sequence[Lag], members: Mapping[str, int]) -> Iterator[Metric]:
    labels = ("consumergroup", *_PLACE)
    places = [((lag.consumergroup, lag.topic, str(lag.partition)), lag) for lag in lags]
    yield gauge(
        "kafka_consumergroup_current_offset",
        "The group's next offset.",
        labels,
        ((place, lag.current_offset) for place, lag in places),
    )
    yield gauge(
        "kafka_consumergroup_lag", "Records that are not settled.", labels, ((place, lag.lag) for place, lag in places)
    )
    offsets: dict[tuple[str, str], int] = defaultdict(int)
    unsettled: dict[tuple[str, str], int] = defaultdict(int)
    for lag in lags:
        offsets[lag.consumergroup, lag.topic] += lag.current_offset
        unsettled[lag.consumergroup, lag.topic] += lag.lag
    yield gauge(
        "kafka_consumergroup_current_offset_sum",
        "The sum of the group's next offsets in all partitions of the topic.",
        _GROUP_TOPIC,
        offsets.items(),
    )
    yield gauge(
        "kafka_consumergroup_lag_sum",
        "Records of the topic that are not settled.",
        _GROUP_TOPIC,
        unsettled.items(),
    )
    yield gauge(
        "kafka_consumergroup_members",
        "Members of the group.",
        ("consumergroup",),
        (((group,), many) for group, many in members.items()),
    )


def _by_group_topic(
    lags: Iterable[Lag], oldest: Mapping[Place, float | None]
) -> Mapping[tuple[str, str], float | None]:
    """Return the timestamp of each topic's oldest unsettled record; None: there is none.

    A topic with lag is left out if the record of one of its partitions is unknown and no other one is known: 0 would
    say that nothing waits.
    """
    by_topic: dict[tuple[str, str], list[Lag]] = defaultdict(list)
    for lag in lags:
        by_topic[lag.consumergroup, lag.topic].append(lag)
    found: dict[tuple[str, str], float | None] = {}
    for key, of_topic in by_topic.items():
        waiting = [(lag.topic, lag.partition) for lag in of_topic if lag.lag]
        times = [at for place in waiting if (at := oldest.get(place)) is not None]
        if times:
            found[key] = min(times)
        elif all(place in oldest for place in waiting):
            found[key] = None
    return found


def _dead_letters(counted: Iterable[OpenDeadLetters], names: KnownNames) -> Mapping[tuple[str, str, str], int]:
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    reasons = set(Reason)
    for one in counted:
        reason = one.reason if one.reason in reasons else UNKNOWN
        found[names.topic(one.topic), names.handler(one.handler), reason] += one.number
    return found


def _paused(paused: Iterable[PausedItem], names: KnownNames) -> Mapping[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = defaultdict(int)
    for one in paused:
        match one.kind:
            case "topic":
                found["topic", names.topic(one.name)] = 1
            case "handler":
                found["handler", names.handler(one.name)] = 1
            case kind:  # such as tenants, whose names are no labels
                found[kind, ""] += 1
    return found


def _breakers(breakers: Iterable[Breaker]) -> Mapping[tuple[str], float]:
    found: dict[tuple[str], float] = defaultdict(float)
    for one in breakers:
        name = one.dependency if len(one.dependency) <= LONGEST_LABEL else UNKNOWN
        found[name,] = max(found[name,], float(one.waiting > 0))
    return found


def _schedule_families(sample: DatabaseSample) -> Iterator[Metric]:
    schedules = sample.schedules
    times: tuple[tuple[str, str, list[tuple[str, datetime | None]]], ...] = (
        ("next_slot", "When the next slot is due; not for schedules that are disabled, paused or broken.",
         [(one.name, one.next_slot) for one in schedules]),
        ("last_success", "When the last successful run ended.",
         [(one.name, one.last_success) for one in schedules]),
    )  # fmt: skip
    for name, help_text, values in times:
        yield gauge(
            f"streams_schedule_{name}_timestamp_seconds",
            help_text,
            ("schedule",),
            (((schedule,), at.timestamp()) for schedule, at in values if at is not None),
        )
    numbers: tuple[tuple[str, str, list[float]], ...] = (
        ("paused", "1 if an operator paused the schedule.", [one.paused for one in schedules]),
        ("enabled", "1 if the schedule is enabled.", [one.enabled for one in schedules]),
        ("broken", "1 if the schedule should run, and its row or its event is not understood.",
         [one.broken for one in schedules]),
        ("missed_slots", "Slots that were recorded as missed within the last 24 hours.",
         [one.missed for one in schedules]),
    )  # fmt: skip
    for name, help_text, found in numbers:
        yield gauge(
            f"streams_schedule_{name}",
            help_text,
            ("schedule",),
            (((one.name,), float(value)) for one, value in zip(schedules, found, strict=True)),
        )
