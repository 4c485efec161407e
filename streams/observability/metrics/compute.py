"""The metrics of the compute processes, which Prometheus reads from the kernel at each scrape."""

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ComputeCollector(Collector):
    """The compute processes of this worker. Its own numbers are `process_cpu_seconds_total` and the like."""

    def __init__(self, read: Callable[[], tuple[int, float, int]]) -> None:
        """Create a collector.

        Args:
            read: Returns the number of processes, their processor time in seconds since the start, and their resident
                memory in bytes.
        """
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield two gauges and a counter."""
        processes, processor_seconds, memory = self._read()
        yield GaugeMetricFamily("streams_compute_processes", "Compute processes that run.", value=processes)
        yield CounterMetricFamily(
            "streams_compute_processor_seconds",
            "Processor time of all compute processes since the worker started.",
            value=processor_seconds,
        )
        yield GaugeMetricFamily(
            "streams_compute_memory_bytes",
            "Resident memory of the compute processes; pages that they share count in each.",
            value=memory,
        )
