"""The metric of the crash-loop guard."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class SuspectCollector(Collector):
    """The offsets that run in isolation because a process died while they ran."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Create a collector. `read` returns by consumer group how many offsets there are."""
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge."""
        family = GaugeMetricFamily(
            "streams_crash_suspects",
            "Offsets that run in isolation because a process died while they ran.",
            labels=("consumergroup",),
        )
        for group, offsets in self._read().items():
            family.add_metric((group,), offsets)
        yield family
