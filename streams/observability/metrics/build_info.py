"""The versions of this process, as labels of a gauge that is always 1."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

import confluent_kafka
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class BuildInfoCollector(Collector):
    """The versions of the pipeline, Python, librdkafka and Faust."""

    def __init__(self) -> None:
        self._labels = {
            "version": _version("event-streams"),
            "python": python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            "faust": _version("faust-streaming"),
        }

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge."""
        family = GaugeMetricFamily(
            "streams_build_info", "Always 1; the labels are the versions of this process.", labels=tuple(self._labels)
        )
        family.add_metric(tuple(self._labels.values()), 1)
        yield family


def _version(package: str) -> str:
    """Return the installed version of a package; empty if it is not installed, as in a process without Faust."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
