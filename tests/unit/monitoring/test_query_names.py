"""The metrics and labels that queries name are those of the reference, which another test holds equal to the code."""

import re

import pytest

from tests.support.pages import page
from tests.support.prometheus.queries import (
    TARGET_LABELS,
    grouped_labels,
    panel_queries,
    rules,
    selectors,
)

SECTION = "Dashboards and alerts"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]*) \|", re.MULTILINE)
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def listed() -> dict[str, set[str]]:
    """Return the labels of each metric of the page: a worker's, the process's and the exporter's."""
    found: dict[str, set[str]] = {}
    for row in ROW.finditer(page("docs/reference/metrics.md").text):
        labels = set(re.findall(r"`(\w+)`", row["labels"]))
        for suffix in SUFFIXES.get(row["type"], ("",)):
            found.setdefault(row["name"] + suffix, set()).update(labels, {"le"} if suffix == "_bucket" else ())
        if row["type"] == "counter":
            found[row["name"].removesuffix("_total") + "_created"] = labels
    return found


QUERIES = [*panel_queries(), *((rule.name, rule.expr) for rule in rules())]


@pytest.mark.requirement(SECTION, "a query names only metrics and labels that exist")
@pytest.mark.parametrize(("place", "expr"), QUERIES, ids=[place for place, _ in QUERIES])
def test_a_query_names_metrics_and_labels_of_the_reference(place: str, expr: str) -> None:
    names = listed()
    ours = [one for one in selectors(expr) if one.is_ours]
    assert [one.metric for one in ours if one.metric not in names] == [], place
    for labels, below in [*((one.labels, [one]) for one in ours), *grouped_labels(expr)]:
        for one in below:
            if one.is_ours:
                assert labels - TARGET_LABELS <= names[one.metric], f"{place}: {one.text}"
