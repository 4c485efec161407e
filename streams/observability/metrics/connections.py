"""The metrics of the connections to the database, which Prometheus reads from the pools at each scrape."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """The connections of one engine."""

    engine: str
    in_use: int
    idle: int
    limit: int


class ConnectionCollector(Collector):
    """The connections of the engines of this process."""

    def __init__(self, read: Callable[[], Iterable[ConnectionCounts]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield two gauges."""
        connections = GaugeMetricFamily(
            "streams_database_connections",
            "Connections to the database by engine: in_use or idle.",
            labels=("engine", "state"),
        )
        limit = GaugeMetricFamily(
            "streams_database_connections_limit", "Connections that an engine opens at most.", labels=("engine",)
        )
        for counts in self._read():
            connections.add_metric((counts.engine, "in_use"), counts.in_use)
            connections.add_metric((counts.engine, "idle"), counts.idle)
            limit.add_metric((counts.engine,), counts.limit)
        yield from (connections, limit)
