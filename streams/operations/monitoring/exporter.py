"""The metrics of `streams exporter`: what its sources last read, with how they did."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streams.observability.metrics.build_info import BuildInfoCollector
from streams.operations.monitoring.families import KnownNames, database_families, gauge, kafka_families
from streams.operations.monitoring.sample import DatabaseSample, KafkaSample
from streams.operations.monitoring.source import Reading, Source
from streams.operations.monitoring.sources import DATABASE, KAFKA


class ExporterCollector(Collector):
    """Yields the last readings of both sources at each scrape."""

    def __init__(
        self,
        kafka: Source[KafkaSample],
        database: Source[DatabaseSample],
        names: Callable[[], KnownNames | None],
    ) -> None:
        """Export two sources.

        Args:
            kafka: Reads the brokers.
            database: Reads the ledger's database.
            names: Returns the names that the handlers declare. None: they are not known yet.
        """
        self._kafka = kafka
        self._database = database
        self._names = names

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        return exporter_families(self._kafka.last(), self._database.last(), self._names(), time.time())


def exporter_families(
    kafka: Reading[KafkaSample] | None,
    database: Reading[DatabaseSample] | None,
    names: KnownNames | None,
    now: float,
) -> Iterator[Metric]:
    """Yield the metrics of both sources, and how the sources did.

    A source that does not answer has no figures, only `streams_exporter_up` 0.

    Args:
        kafka: The last reading of Kafka. None: the first one is under way.
        database: The last reading of the database, in the same way.
        names: The names that the handlers declare. None: they are not known yet.
        now: Seconds since the epoch.
    """
    if kafka is not None and kafka.value is not None:
        yield from kafka_families(kafka.value, names, now)
    if database is not None and database.value is not None:
        yield from database_families(database.value, names, now)
    readings = ((KAFKA, kafka), (DATABASE, database))
    yield gauge(
        "streams_exporter_up",
        "1 if the source answered at the last collection; if not, its figures are left out.",
        ("source",),
        (((name,), float(one is not None and one.value is not None)) for name, one in readings),
    )
    yield gauge(
        "streams_exporter_collection_seconds",
        "How long the last collection took.",
        ("source",),
        (((name,), one.seconds) for name, one in readings if one is not None),
    )


def exporter_registry(collector: ExporterCollector) -> CollectorRegistry:
    """Return a registry with the exporter's metrics, those of its process, and the versions in use."""
    registry = CollectorRegistry()
    registry.register(BuildInfoCollector())
    ProcessCollector(registry=registry)
    registry.register(collector)
    return registry
