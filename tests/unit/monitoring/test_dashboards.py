"""The dashboards: the committed JSON is the code's, every panel is described, and links lead somewhere."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from dashboards import DASHBOARDS, RUNBOOKS, files
from dashboards.__main__ import main
from dashboards.grafana import TAG
from dashboards.panels import ChoiceVariable, Dashboard
from tests.support.pages import ROOT
from tests.support.prometheus.queries import panel_queries, rules, selectors

FOLDER = ROOT / "deploy" / "grafana"
SECTION = "Dashboards and alerts"
GRID = 24
EACH_DASHBOARD = pytest.mark.parametrize("content", DASHBOARDS, ids=lambda content: content.uid)


@pytest.mark.requirement(SECTION, "dashboards are made by code and committed")
def test_the_committed_files_are_those_of_the_code() -> None:
    """`python -m dashboards` writes them anew."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in (FOLDER / "dashboards").iterdir()}

    assert committed == files()


@pytest.mark.requirement(SECTION, "every panel has a description")
@EACH_DASHBOARD
def test_every_panel_says_what_it_shows(content: Dashboard) -> None:
    panels = list(content.panels())
    assert len(panels) >= 8
    assert len(content.description.split()) > 4
    for panel in panels:
        assert len(panel.description.split()) > 4, panel.title
        assert panel.description.endswith("."), panel.title
        assert panel.queries, panel.title
    assert [title for title, many in Counter(panel.title for panel in panels).items() if many > 1] == []


@EACH_DASHBOARD
def test_grafana_gets_what_the_panels_say(content: Dashboard) -> None:
    """In the JSON: one panel each, on a grid without overlaps, with its queries and the chosen data source."""
    page = json.loads(files()[f"{content.uid}.json"])
    shown = [panel for panel in page["panels"] if panel["type"] != "row"]
    assert page["uid"] == content.uid
    assert TAG in page["tags"]
    assert [(panel["title"], panel["description"]) for panel in shown] == [
        (panel.title, panel.description) for panel in content.panels()
    ]
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= GRID, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel, declared in zip(shown, content.panels(), strict=True):
        assert [target["expr"] for target in panel["targets"]] == [query.expr for query in declared.queries]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


@pytest.mark.requirement(SECTION, "dashboards link to each other and to the runbooks")
@EACH_DASHBOARD
def test_links_lead_to_the_other_dashboards_and_to_runbooks(content: Dashboard) -> None:
    page = json.loads(files()[f"{content.uid}.json"])
    assert [link["tags"] for link in page["links"] if link["type"] == "dashboards"] == [[TAG]]
    linked = {link["url"] for holder in (page, *page["panels"]) for link in holder.get("links") or () if "url" in link}
    assert linked
    for url in linked:
        folder, _, name = url.rpartition("/")
        assert folder == RUNBOOKS
        assert (ROOT / "docs" / "runbooks" / name).exists(), url


@pytest.mark.requirement(SECTION, "one setting is the address of the runbooks, in dashboards and alerts alike")
def test_a_deployment_s_own_address_of_the_runbooks_is_in_every_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that the page shows. A slash at the end of the address is not doubled."""
    folders = ["--folder", str(tmp_path / "dashboards"), "--rules", str(tmp_path / "rules")]
    monkeypatch.setattr(sys, "argv", ["dashboards", "--runbooks", "https://wiki.invalid/runbooks/", *folders])
    main()
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.*")}
    assert written.keys() == {*files(), "alerts.yml"}
    for text in written.values():
        assert RUNBOOKS not in text
        assert "https://wiki.invalid/runbooks/" in text
        assert "runbooks//" not in text


def test_variables_that_queries_use_exist() -> None:
    """A `$name` without a variable is a matcher that finds nothing."""
    for content in DASHBOARDS:
        names = {variable.name for variable in content.variables}
        for panel in content.panels():
            for query in panel.queries:
                assert set(re.findall(r'"\$([a-z]+)"', query.expr)) <= names, panel.title
                assert "${names}" not in query.expr or "names" in names


@pytest.mark.requirement(SECTION, "consumer lag on the names of kafka_exporter, Strimzi and kminion, by a variable")
def test_the_lag_is_shown_on_the_names_of_each_exporter() -> None:
    """Each value of the variable selects other metrics."""
    (choice,) = [one for content in DASHBOARDS for one in content.variables if isinstance(one, ChoiceVariable)]
    metrics = {
        value: {found.metric for _, expr in panel_queries(value) for found in selectors(expr)}
        for _, value in choice.values
    }
    assert "kafka_consumergroup_lag" in metrics["kafka"]
    assert "kminion_kafka_consumer_group_topic_partition_lag" in metrics["kminion_kafka"]


@pytest.mark.requirement(SECTION, "a PromQL parser reads every query")
def test_every_query_is_promql() -> None:
    recorded = {rule.name for rule in rules() if not rule.is_alert}
    queries = list(panel_queries())
    assert len(queries) > 80
    for place, expr in queries:
        found = selectors(expr)
        assert found, place
        assert {one.metric for one in found if ":" in one.metric} <= recorded, place


def test_provisioning_names_the_folder_and_the_data_source() -> None:
    def read(path: Path) -> object:
        return yaml.safe_load(path.read_text(encoding="utf-8"))

    dashboards = read(FOLDER / "provisioning" / "dashboards" / "streams.yaml")
    sources = read(FOLDER / "provisioning" / "datasources" / "prometheus.yaml")
    assert isinstance(dashboards, dict)
    assert isinstance(sources, dict)
    assert [provider["type"] for provider in dashboards["providers"]] == ["file"]
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
