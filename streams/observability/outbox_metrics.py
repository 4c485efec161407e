"""The depth of the outbox as Prometheus metrics. Only the active relay exports them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.observability.metrics import REGISTRY


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """One measurement of the outbox."""

    waiting: int
    """The number of rows that can be sent now."""
    set_aside: int
    """The number of rows that Kafka rejected permanently."""
    oldest: float | None
    """Since when the oldest waiting row could be sent, in seconds since the epoch. None: no row waits."""


class OutboxCollector(Collector):
    """The last measurement. Empty if this process's relay is not active, so that the sum of all processes is right."""

    def __init__(self) -> None:
        self.depth: OutboxDepth | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield three gauges, or none. The age keeps rising while the relay is stuck."""
        depth = self.depth
        if depth is None:
            return
        age = 0.0 if depth.oldest is None else max(0.0, time.time() - depth.oldest)
        yield GaugeMetricFamily(
            "streams_outbox_waiting", "Outbox rows that can be sent, 100000 at most.", value=depth.waiting
        )
        yield GaugeMetricFamily(
            "streams_outbox_set_aside", "Outbox rows that Kafka rejected permanently.", value=depth.set_aside
        )
        yield GaugeMetricFamily("streams_outbox_oldest_seconds", "Age of the oldest row that can be sent.", value=age)


_collector = OutboxCollector()
REGISTRY.register(_collector)


def set_outbox_depth(depth: OutboxDepth | None) -> None:
    """Export this measurement from now on. None: this process's relay is not active."""
    _collector.depth = depth
