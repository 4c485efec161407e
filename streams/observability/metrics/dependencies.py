"""The metrics of what the pipeline depends on: circuit breakers, and the rows of the outbox that Kafka answered."""

from functools import lru_cache

from prometheus_client import Counter, Gauge

from streams.observability.metrics.registry import REGISTRY

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


@lru_cache(maxsize=64)
def breaker_open(dependency: str) -> Gauge:
    """Return the gauge that is 1 while work waits for a dependency, else 0."""
    return _breaker_open.labels(dependency)
