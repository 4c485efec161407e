"""What the examples render to, as a reviewer reads it: a change of a template shows as a change of these files."""

import pytest
import yaml

from tests.support.chart.golden import FOLDER, golden, small_chart
from tests.support.chart.object_schemas import KUBERNETES, problems
from tests.support.chart.render import objects, of_kind, read_values

SECTION = "Kubernetes"


@pytest.mark.requirement(SECTION, "diffs of each feature against the minimum, golden-tested")
def test_the_examples_render_to_the_reviewed_files() -> None:
    """`python -m tests.support.chart.golden` writes them anew; read the difference before you commit it."""
    found = {path: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert found == golden()


def test_rules_and_dashboards_arrive_unchanged() -> None:
    """Their own braces are not read as a template. Objectives and the address of the runbooks are the user's."""
    with small_chart() as chart:
        found = objects(read_values("monitoring"), chart=chart)
    (rule,) = of_kind(found, "PrometheusRule")
    *objectives, alert = rule["spec"]["groups"][0]["rules"]
    assert [one["expr"] for one in objectives] == ["vector(0.999)", "vector(30)", "vector(900)"]
    assert alert["annotations"] == {
        "summary": "{{ $labels.instance }} is late",
        "runbook_url": "https://wiki.example.com/streams/outbox-grows.md",
    }
    (dashboard,) = (one for one in of_kind(found, "ConfigMap") if "example.json" in one["data"])
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    content = yaml.safe_load(dashboard["data"]["example.json"])
    assert content["panels"] == [{"legend": "{{topic}}"}]
    assert content["links"] == ["https://wiki.example.com/streams/lag-grows.md"]
    assert [line for one in found for line in problems(one, KUBERNETES[-1])] == []
