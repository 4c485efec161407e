"""The registry of this process's metrics, and the page that Prometheus reads."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

UNKNOWN = "unknown"
"""The value of a label for a topic or a handler that this version does not have."""

REGISTRY = CollectorRegistry()
"""The process's metrics. They are separate from the client library's global registry, so that nothing mixes in."""
PROCESS = (ProcessCollector(registry=REGISTRY), PlatformCollector(registry=REGISTRY), GCCollector(registry=REGISTRY))
"""The client library's metrics of this process and of its Python."""


_exported: dict[type[Collector], Collector] = {}


def export(collector: Collector) -> None:
    """Register a collector, in place of an earlier one of its class: two would give the same samples twice."""
    withdraw(type(collector))
    REGISTRY.register(collector)
    _exported[type(collector)] = collector


def withdraw(kind: type[Collector]) -> None:
    """Unregister the collector of a class that `export` registered, if there is one."""
    earlier = _exported.pop(kind, None)
    if earlier is not None:
        REGISTRY.unregister(earlier)


def exposition() -> tuple[bytes, str]:
    """Return the page for Prometheus and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
