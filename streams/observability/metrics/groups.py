"""Exports the metrics of the consumer groups, which the transport gives at each scrape."""

from collections.abc import Callable, Iterable

from streams.observability.group_metrics import GroupCollector, GroupCounts
from streams.observability.metrics.lag import Lag, LagCollector
from streams.observability.metrics.registry import export, withdraw
from streams.settings import Settings


def export_groups(
    settings: Settings, lag: Callable[[], Iterable[Lag]], counts: Callable[[], Iterable[GroupCounts]]
) -> None:
    """Export lag and counters, which the functions return at each scrape, in place of those of an earlier call.

    Lag is not exported if STREAMS_METRICS_LAG is off, since a real kafka_exporter uses the same names.
    """
    export(GroupCollector(counts))
    if settings.metrics_lag:
        export(LagCollector(lag))
    else:
        withdraw(LagCollector)
