"""The lag of the partitions that this process owns, with kafka_exporter's names."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of a group on one partition."""

    consumergroup: str
    topic: str
    partition: int
    current_offset: int
    """The next offset that the group reads."""
    end_offset: int
    """The offset of the next record to be written."""
    lag: int
    """The number of records that are not settled."""


class LagCollector(Collector):
    """The lag of the partitions that this process owns, with kafka_exporter's names. Prometheus reads it."""

    def __init__(self, read: Callable[[], Iterable[Lag]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield one sample per partition in each of three families."""
        partition = ("topic", "partition")
        lag = GaugeMetricFamily(
            "kafka_consumergroup_lag", "Records that are not settled.", labels=("consumergroup", *partition)
        )
        current = GaugeMetricFamily(
            "kafka_consumergroup_current_offset", "The group's next offset.", labels=("consumergroup", *partition)
        )
        end = GaugeMetricFamily("kafka_topic_partition_current_offset", "The partition's end.", labels=partition)
        for sample in self._read():
            place = (sample.topic, str(sample.partition))
            lag.add_metric((sample.consumergroup, *place), sample.lag)
            current.add_metric((sample.consumergroup, *place), sample.current_offset)
            end.add_metric(place, sample.end_offset)
        yield from (lag, current, end)
