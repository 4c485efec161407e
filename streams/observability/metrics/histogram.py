"""Histograms that cost little per value. Prometheus reads them at each scrape."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.observability.metrics.registry import REGISTRY


class Observations:
    """Counts seconds by bucket. The library's histogram takes too long for each small handler.

    Negative values, from clocks that differ, count as 0.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        """The upper bounds of the buckets, ascending."""
        self.counts = [0] * (len(bounds) + 1)
        """Values by bucket. The last bucket has no bound."""
        self.total = 0.0
        """The sum of all values."""

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        if seconds > 0:
            self.total += seconds

    def observe_all(self, seconds: Iterable[float]) -> None:
        """Count several values."""
        counts, bounds = self.counts, self.bounds
        for one in seconds:
            counts[bisect_left(bounds, one)] += 1
            if one > 0:
                self.total += one

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Return for each bucket the upper bound and the number of values up to it, and the sum of all values."""
        bounds = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True)), self.total


class Histogram(Collector):
    """The observations of one metric, by the values of its labels."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """Create a histogram without values, and register it.

        Args:
            name: The metric's name; it ends with its unit.
            help_text: One sentence.
            labels: The names of the labels.
            bounds: The upper bounds of the buckets, ascending.
        """
        self._name, self._help, self._labels, self._bounds = name, help_text, labels, bounds
        self._found: dict[tuple[str, ...], Observations] = {}
        REGISTRY.register(self)

    def of(self, *labels: str) -> Observations:
        """Return the observations of these values of the labels. Cache them where values are frequent."""
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = Observations(self._bounds)
        return found

    def collect(self) -> Iterator[Metric]:
        """Yield one family with one histogram per combination of labels."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for labels, found in self._found.items():
            buckets, total = found.cumulative()
            family.add_metric(labels, buckets, total)
        yield family
