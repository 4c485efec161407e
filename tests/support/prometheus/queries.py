"""The queries of dashboards and alert rules, and the selectors that they consist of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import promql_parser
import yaml
from promql_parser import AggModifierType, AggregateExpr, Call, VectorSelector

from dashboards import DASHBOARDS
from dashboards.panels import LabelVariable
from tests.support.pages import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULE_FILES = (PROMETHEUS / "objectives.yml", PROMETHEUS / "alerts.yml")
OTHERS = {"ALERTS", "up"}
"""Metrics of Prometheus itself."""
TARGET_LABELS = {"job", "instance"}
"""Labels that Prometheus adds."""
KMINION = {
    "kminion_kafka_consumer_group_members",
    "kminion_kafka_consumer_group_topic_offset_sum",
    "kminion_kafka_consumer_group_topic_partition_lag",
    "kminion_kafka_topic_high_water_mark_sum",
}
"""Names of kminion 2.2 (its docs/metrics.md)."""
_VARIABLE = re.compile(r"\$\{names\}|\$__rate_interval|\$(?:group|topic|handler|reason|schedule|pool|job|instance)\b")
_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")
_QUERY_RESULT = re.compile(r"query_result\((?P<expr>.+)\)")


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording rule or an alert."""

    name: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    is_alert: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric with its matchers, as it occurs in a query."""

    metric: str
    text: str
    """The selector in PromQL, without its offset."""
    labels: frozenset[str]
    """The labels that its matchers name."""

    @property
    def is_ours(self) -> bool:
        """Say whether a worker or an exporter has the metric: it is no recorded one and no other program's."""
        other_exporter = self.metric.replace("kafka_", "kminion_kafka_", 1) in KMINION
        return ":" not in self.metric and not other_exporter and self.metric not in OTHERS


@cache
def rules() -> tuple[Rule, ...]:
    """Return the rules of all files."""
    return tuple(
        Rule(
            name=rule.get("alert") or rule["record"],
            expr=rule["expr"],
            labels=rule.get("labels", {}),
            annotations=rule.get("annotations", {}),
            is_alert="alert" in rule,
        )
        for path in RULE_FILES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    )


def panel_queries(names: str = "kafka", rate: str = "1m") -> Iterator[tuple[str, str]]:
    """Yield the place and the PromQL of every panel's queries and of every variable.

    Args:
        names: The value of the variable `names`: the beginning of the names of the metrics of lag.
        rate: What Grafana puts in place of its rate interval.
    """
    for content in DASHBOARDS:
        for panel in content.panels():
            for query in panel.queries:
                yield f"{content.uid}: {panel.title}: {query.legend}", interpolated(query.expr, names, rate)
        for variable in content.variables:
            if isinstance(variable, LabelVariable):
                yield f"{content.uid}: ${variable.name}", interpolated(_of_variable(variable.query), names, rate)


def _of_variable(query: str) -> str:
    """Return the PromQL of a variable. `label_values` becomes a count by that label."""
    if found := _LABEL_VALUES.fullmatch(query):
        return f"count by ({found['label']}) ({found['selector']})"
    found = _QUERY_RESULT.fullmatch(query)
    assert found is not None, query
    return found["expr"]


def interpolated(expr: str, names: str, rate: str) -> str:
    """Return a panel's query as Grafana sends it while each variable has all values."""

    def value(found: re.Match[str]) -> str:
        return {"${names}": names, "$__rate_interval": rate}.get(found[0], ".*")

    return _VARIABLE.sub(value, expr)


def selectors(expr: str) -> list[Selector]:
    """Return the selectors of a query. Raises ValueError if it is no PromQL."""
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, VectorSelector):
            assert node.name is not None, f"a selector without a metric in {expr}"
            matchers = f"{node.matchers}" if node.matchers.matchers else ""
            labels = frozenset(matcher.name for matcher in node.matchers.matchers)
            found.append(Selector(node.name, f"{node.name}{matchers}", labels))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def increased(expr: str) -> set[str]:
    """Return the metrics whose increase or rate a query asks for."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, Call) and node.func.name in {"increase", "rate", "irate"}:
            found.update(one.metric for one in selectors(node.prettify()))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def grouped_labels(expr: str) -> Iterator[tuple[frozenset[str], list[Selector]]]:
    """Yield the labels of each `by (…)` with the selectors below it. Labels that `label_replace` makes are left out."""
    found: list[AggregateExpr] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, AggregateExpr):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), visit)
    for node in found:
        if node.modifier is not None and node.modifier.type == AggModifierType.By and not _renames(node):
            yield frozenset(node.modifier.labels), selectors(node.expr.prettify())


def _renames(expr: promql_parser.Expr) -> bool:
    calls: list[str] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, Call):
            calls.append(node.func.name)

    promql_parser.walk(expr, visit)
    return "label_replace" in calls


def unit_test_files() -> list[Path]:
    """Return the rules' unit tests in promtool's format."""
    return sorted((PROMETHEUS / "tests").glob("*.yml"))
