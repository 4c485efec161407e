"""The metrics of consumer groups: partitions, rebalances, failed commits, and topics with trouble."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """Counters of one consumer group since this process started."""

    consumergroup: str
    owned: int
    paused: int
    rebalances: int
    lost: int
    late: int
    commit_failures: int
    deleted_unread: Mapping[str, int] = field(default_factory=dict)
    """By topic: how many offsets retention deleted before they were read."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """By topic, or the group's id: why it cannot be read now."""
    oldest_unsettled: Mapping[str, int | None] = field(default_factory=dict)
    """By topic: the timestamp in ms of the record that holds the offset; None: every record is settled."""


class GroupCollector(Collector):
    """The consumer groups' counters. Prometheus reads them from the transport at each scrape."""

    def __init__(self, read: Callable[[], Iterable[GroupCounts]]) -> None:
        self._read = read
        self._created: dict[tuple[str, str], float] = {}
        """By group and topic: when offsets that were deleted unread first counted, in seconds since the epoch."""

    def collect(self) -> Iterator[Metric]:
        """Yield one sample per group in each family."""
        counts = list(self._read())
        gauges = {
            "streams_partitions_owned": ("Partitions that this process owns.", "owned"),
            "streams_partitions_paused": ("Owned partitions that are paused until records are settled.", "paused"),
        }
        counters = {
            "streams_rebalances": ("How often partitions were assigned, revoked or lost.", "rebalances"),
            "streams_partitions_lost": ("Partitions lost without a revocation.", "lost"),
            "streams_late_acknowledgements": ("Settlements ignored after a revocation.", "late"),
            "streams_commit_failures": ("Failed offset commits; each is repeated.", "commit_failures"),
        }
        families = (
            (GaugeMetricFamily, gauges),
            (CounterMetricFamily, counters),
        )
        for family, described in families:
            for name, (help_text, attribute) in described.items():
                metric = family(name, help_text, labels=("consumergroup",))
                for group in counts:
                    metric.add_metric((group.consumergroup,), getattr(group, attribute))
                yield metric
        yield from _topic_metrics(counts, self._created)
        yield oldest_unsettled((group.consumergroup, group.oldest_unsettled) for group in counts)


def oldest_unsettled(groups: Iterable[tuple[str, Mapping[str, int | None]]]) -> Metric:
    """Return the age of the oldest unsettled record by group and topic.

    Args:
        groups: Each group's name, and by topic the timestamp in ms of its oldest unsettled record; None: it has none.
    """
    now = time.time()
    family = GaugeMetricFamily(
        "streams_oldest_unsettled_seconds",
        "Age of the oldest record that was read and is not settled; 0 if there is none.",
        labels=("consumergroup", "topic"),
    )
    for group, topics in groups:
        for topic, timestamp in topics.items():
            family.add_metric((group, topic), 0.0 if timestamp is None else max(0.0, now - timestamp / 1000))
    return family


def _topic_metrics(groups: Iterable[GroupCounts], created: dict[tuple[str, str], float]) -> Iterator[Metric]:
    """Yield one sample per topic with trouble in each family. New counters are added to `created`."""
    labels = ("consumergroup", "topic")
    deleted = CounterMetricFamily(
        "streams_offsets_deleted_unread", "Offsets that retention deleted before they were read.", labels=labels
    )
    unreadable = GaugeMetricFamily("streams_topic_unreadable", "1 while a topic cannot be read.", labels=labels)
    for group in groups:
        for topic, offsets in group.deleted_unread.items():
            key = (group.consumergroup, topic)
            deleted.add_metric(key, offsets, created=created.setdefault(key, time.time()))
        for topic in group.unreadable:
            unreadable.add_metric((group.consumergroup, topic), 1)
    yield from (deleted, unreadable)
