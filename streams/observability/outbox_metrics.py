"""How full the outbox is, as Prometheus sees it: told by the one relay that is active, by no other."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.observability.metrics import REGISTRY


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """One look at the outbox."""

    waiting: int
    """Rows that may go out now."""
    set_aside: int
    """Rows that Kafka refused for good."""
    oldest: float | None
    """Since when the oldest of those that wait could have gone out, seconds since the epoch; None: none waits."""


class OutboxCollector(Collector):
    """The last look; nothing where this process's relay is not the active one, so that a sum over all is right."""

    def __init__(self) -> None:
        self.depth: OutboxDepth | None = None

    def collect(self) -> Iterator[Metric]:
        """Three gauges, or none; the age goes on rising where the relay is stuck."""
        depth = self.depth
        if depth is None:
            return
        age = 0.0 if depth.oldest is None else max(0.0, time.time() - depth.oldest)
        yield GaugeMetricFamily(
            "streams_outbox_waiting", "Outbox rows that may go out, 100000 at most.", value=depth.waiting
        )
        yield GaugeMetricFamily(
            "streams_outbox_set_aside", "Outbox rows that Kafka refused for good.", value=depth.set_aside
        )
        yield GaugeMetricFamily("streams_outbox_oldest_seconds", "Age of the oldest row that may go out.", value=age)


_collector = OutboxCollector()
REGISTRY.register(_collector)


def outbox_seen(depth: OutboxDepth | None) -> None:
    """Show this look from now on; None: this process's relay is not active."""
    _collector.depth = depth
