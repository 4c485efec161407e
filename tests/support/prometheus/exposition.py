"""What a page of metrics has: samples, and the names and labels also of metrics that have no series yet."""

import re
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("", "_count", "_sum"),
}


def samples(page: str, prefix: str) -> list[Sample]:
    """Return the samples whose names begin with a prefix. Only their lines are parsed: a page can have a megabyte."""
    own = re.compile(rf"(# (HELP|TYPE) )?{re.escape(prefix)}")
    lines = "".join(line for line in page.splitlines(keepends=True) if own.match(line))
    return [sample for family in text_string_to_metric_families(lines) for sample in family.samples]


class Exposition:
    """What one or several pages of metrics have."""

    def __init__(self, pages: Iterable[str]) -> None:
        self.names: set[str] = set()
        self.labels: dict[str, set[str]] = {}
        """The labels of each metric that has a series."""
        for page in pages:
            for family in text_string_to_metric_families(page):
                self._add(family)

    def _add(self, family: Metric) -> None:
        self.names |= {family.name + suffix for suffix in _SUFFIXES.get(family.type, ("",))}
        for sample in family.samples:
            self.labels.setdefault(sample.name, set()).update(sample.labels)
