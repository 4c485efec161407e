"""What a dashboard consists of, as plain values: queries, panels, rows, variables."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["timeseries", "stat", "table", "heatmap"]

RATE = "$__rate_interval"
"""Grafana replaces it by at least four scrape intervals."""


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL query. Its variables are Grafana's."""

    expr: str
    legend: str = "__auto"
    """The name of each series; in a table, the name of the column."""
    unit: str | None = None
    """The unit of the column in a table, if it is not the panel's."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its queries. A table and a stat show the present, the others the chosen time."""

    title: str
    description: str
    """What the panel shows, and what a reader should make of it."""
    queries: tuple[Query, ...]
    unit: str = "short"
    """A unit of Grafana: `s`, `bytes`, `ops`, `percentunit`, …"""
    kind: Kind = "timeseries"
    width: int = 12
    """Of 24 columns."""
    height: int = 8
    stacked: bool = False
    runbook: str | None = None
    """A page of docs/runbooks, without its suffix."""
    warn_from: float | None = None
    """A value from which the panel is red."""
    none_text: str | None = None
    """What to show instead of "No data"."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class LabelVariable:
    """A choice among the values of a label, several at once; all at first."""

    name: str
    label: str
    query: str
    """`label_values(…)` or `query_result(…)`."""
    regex: str | None = None
    """Takes the value out of a result of `query_result`."""


@dataclass(frozen=True, slots=True)
class ChoiceVariable:
    """A choice of one of a few fixed values; the first at first."""

    name: str
    label: str
    description: str
    values: tuple[tuple[str, str], ...]
    """Text and value of each."""


Variable = LabelVariable | ChoiceVariable


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels."""

    uid: str
    """Its identity in Grafana; links use it."""
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    def panels(self) -> Iterator[Panel]:
        """Yield the panels of all rows."""
        for row in self.rows:
            yield from row.panels


def one(expr: str, legend: str = "__auto") -> tuple[Query, ...]:
    """Return the queries of a panel that has only one."""
    return (Query(expr, legend),)


def counted(counter: str, by: str = "", matchers: str = "", minutes: int = 60) -> str:
    """Return the number of rare events within some minutes, the first event of a counter included.

    Such a counter comes into being with its first event, which increase() does not see. So the whole value of a counter
    that was created within this time counts. Alert rules do the same.

    Args:
        counter: The name of the counter, without `_total`.
        by: The labels that the events are counted by, separated by commas.
        matchers: Label matchers, without braces.
        minutes: The length of the time.
    """
    of = f"{{{matchers}}}" if matchers else ""
    total, created = f"{counter}_total{of}", f"{counter}_created{of}"
    new = f"{total} and {created} > time() - {minutes * 60} unless {total} offset {minutes}m"
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (({new}) or increase({total}[{minutes}m]))"


def quantiles(metric: str, matchers: str, by: str) -> tuple[Query, ...]:
    """Return the 50th, 95th and 99th percentile of a histogram.

    Args:
        metric: The name of the histogram, without `_bucket`.
        matchers: Label matchers, without braces.
        by: The label that the percentiles are computed for.
    """
    rates = f"sum by (le, {by}) (rate({metric}_bucket{{{matchers}}}[{RATE}]))"
    return tuple(
        Query(f"histogram_quantile({part}, {rates})", f"{{{{{by}}}}} {name}")
        for part, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )
