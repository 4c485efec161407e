"""Every example of values renders to objects that Kubernetes accepts, with Helm's own engine."""

import copy
import re
import tarfile
import tomllib
from pathlib import Path

import helm_python
import pytest
import yaml

from tests.support.chart.files import CHART, generated, stale
from tests.support.chart.object_schemas import KUBERNETES, custom_kinds, problems
from tests.support.chart.pods import containers
from tests.support.chart.render import (
    MONITORING,
    example,
    examples,
    lint_messages,
    merged,
    objects,
    of_kind,
    pod_templates,
    read_values,
    render,
    usual_cases,
)
from tests.support.pages import ROOT, page

EACH_EXAMPLE = pytest.mark.parametrize("name", examples())
SECTION = "Kubernetes"
NUMBER = "100"
CHECKED = {
    "apiVersion", "application", "authentication", "bootstrapServers", "digest", "egress", "extraEnv", "extraEnvFrom",
    "extraVolumeMounts", "extraVolumes", "groupProtocol", "keda", "kind", "mechanism", "networkPolicy", "overrides",
    "retryDelays", "settings", "sidecars", "topologyKeys", "type", "url",
}  # fmt: skip
"""Values that must be one of a few, or are passed on as they are."""
RULES_ALONE = {"monitoring": {"prometheusRule": {"enabled": True, "runbookUrl": "https://wiki.example.com"}}}
RUNBOOKS = "https://runbooks.example/streams"


@pytest.mark.requirement(SECTION, "the chart's catalogue, schema, README, rules and dashboards are those of the code")
def test_the_generated_files_are_current() -> None:
    """`python -m tests.support.chart.files` writes them anew."""
    assert stale() == []


@pytest.mark.requirement(SECTION, "lint with a dozen values files: minimal, everything on, each feature alone")
@EACH_EXAMPLE
def test_lint_finds_nothing(name: str) -> None:
    assert lint_messages(read_values(name), kubernetes=KUBERNETES[-1]) == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_lint_finds_nothing_for_any_version(version: str) -> None:
    assert lint_messages(read_values("everything"), kubernetes=version) == []


def test_lint_finds_values_that_are_wrong() -> None:
    assert lint_messages(merged(read_values("minimal"), {"partitions": "four"}), kubernetes=KUBERNETES[-1])


@pytest.mark.requirement(SECTION, "every object fits the strict schemas of three Kubernetes versions and the CRDs'")
@EACH_EXAMPLE
def test_every_object_fits_the_schemas(name: str) -> None:
    assert len(examples()) >= 12
    found = example(name)
    assert found
    assert [line for version in KUBERNETES for one in found for line in problems(one, version)] == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_a_field_that_kubernetes_does_not_have_is_found(version: str) -> None:
    """The strict schemas and the extracts refuse unknown fields at any depth."""
    kinds = {one["kind"]: one for one in example("everything")}
    assert {name.rpartition("/")[2] for name in custom_kinds()} - {"PrometheusRule"} <= set(kinds)
    for kind, one in kinds.items():
        wrong = copy.deepcopy(one)
        inner = wrong.get("spec", wrong)
        inner["unknownField"] = 1
        assert len(problems(wrong, version)) == 1, kind


@pytest.mark.requirement(SECTION, "every pod runs on a node whose processor the image is for")
@EACH_EXAMPLE
def test_pods_run_where_the_image_does(name: str) -> None:
    """Also where a pool selects nodes of its own."""
    found = example(name)
    assert {pod["spec"]["nodeSelector"]["kubernetes.io/arch"] for _, pod in pod_templates(found)} == {"amd64"}
    if name == "pods":
        pools = [pod for one, pod in pod_templates(found) if one["metadata"]["name"] == "streams-high"]
        assert [pod["spec"]["nodeSelector"]["disk"] for pod in pools] == ["fast"]


@EACH_EXAMPLE
def test_a_slow_start_is_no_reason_to_restart(name: str) -> None:
    probed = [one.spec for one in containers(example(name)) if "livenessProbe" in one.spec]
    assert probed
    for spec in probed:
        start = spec["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] >= 120
        assert start["timeoutSeconds"] == spec["livenessProbe"]["timeoutSeconds"]


@EACH_EXAMPLE
def test_names_are_unique_and_short_enough(name: str) -> None:
    found = example(name)
    places = [(one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]) for one in found]
    assert len(set(places)) == len(places)
    labels = [label for one in found for label in one["metadata"]["labels"].values()]
    assert max(map(len, labels)) <= 63
    assert max(len(own) for kind, _, own in places if kind in {"Service", "Job"}) <= 63


def test_a_long_release_name_stays_within_the_limits() -> None:
    found = objects(merged(read_values("keda"), {"fullnameOverride": "a" * 40}))
    assert max(len(one["metadata"]["name"]) for one in found) <= 63
    assert [line for one in found for line in problems(one, KUBERNETES[0])] == []


def texts(values: object) -> object:
    """The same values with every free text replaced by one that YAML could read as a number."""
    if isinstance(values, dict):
        return {name: values[name] if name in CHECKED else texts(values[name]) for name in values}
    return NUMBER if isinstance(values, str) and values else values


@pytest.mark.parametrize("name", ["everything", "keda-login", "external-secrets", "pods", "strimzi-topics"])
def test_names_that_look_like_numbers_stay_texts(name: str) -> None:
    """A release named 1234, a Secret named 1e5: the cluster refuses a number in place of a name."""
    values = texts(read_values(name))
    assert isinstance(values, dict)
    if "storage" in values:
        values["storage"] = read_values(name)["storage"] | ({"existingClaim": NUMBER} if name == "pods" else {})
    values["extraTopics"] = [{"name": NUMBER, "pool": "low"}]
    found = objects(values, release="1234")
    assert [line for version in KUBERNETES for one in found for line in problems(one, version)] == []


@pytest.mark.requirement(SECTION, "monitors, rules and dashboards are optional, by the CRDs that are there")
def test_monitors_are_rendered_where_the_cluster_has_their_kinds() -> None:
    values = read_values("minimal")
    kinds = ("PodMonitor", "ServiceMonitor")
    assert of_kind(objects(values), *kinds) == []
    assert {one["kind"] for one in of_kind(objects(values, apis=[MONITORING]), *kinds)} == set(kinds)
    off = {"monitoring": {"podMonitor": {"enabled": False}, "serviceMonitor": {"enabled": False}}}
    assert of_kind(objects(merged(values, off), apis=[MONITORING]), *kinds) == []


@pytest.mark.requirement(SECTION, "an upgrade from the former release's values renders, and no selector changes")
def test_the_values_of_the_former_release_still_work() -> None:
    """Selectors cannot be changed on a cluster: an upgrade that changes one fails."""
    found = example("former")
    assert [line for one in found for line in problems(one, KUBERNETES[-1])] == []
    selectors = {
        one["metadata"]["name"]: one["spec"]["selector"]["matchLabels"] for one in of_kind(found, "Deployment")
    }
    name = {"app.kubernetes.io/name": "event-streams", "app.kubernetes.io/instance": "demo"}
    worker = {**name, "app.kubernetes.io/component": "worker"}
    assert selectors == {
        **{f"demo-event-streams-{pool}": {**worker, "event-streams/pool": pool} for pool in ("high", "default", "low")},
        "demo-event-streams-relay": {**name, "app.kubernetes.io/component": "relay"},
        "demo-event-streams-exporter": {**name, "app.kubernetes.io/component": "exporter"},
    }


@pytest.mark.requirement(SECTION, "notes say what to do next")
def test_the_notes_name_what_exists() -> None:
    for name in examples():
        notes = render(read_values(name))["NOTES.txt"]
        assert "helm test demo --namespace events" in notes
        deployments = {one["metadata"]["name"] for one in of_kind(example(name), "Deployment")}
        named = {word.partition("/")[2] for word in notes.split() if word.startswith("deployment/")}
        assert named
        assert named <= deployments
    assert (
        "WARNING: nothing works on the events of these pools, unless another release does: high, low."
        in render(read_values("one-pool"))["NOTES.txt"]
    )


@pytest.mark.requirement(SECTION, "the page about the deployment shows values that work")
def test_the_values_of_the_page_work() -> None:
    blocks = [block for block in page("docs/how-to/deploy-kubernetes.md").blocks if block.language == "yaml"]
    assert len(blocks) > 3
    for block in blocks:
        found = objects(merged(read_values("minimal"), yaml.safe_load(block.text)))
        assert [line for one in found for line in problems(one, KUBERNETES[-1])] == []


def test_the_readme_shows_the_minimal_values() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert yaml.safe_load(shown) == read_values("minimal")


@pytest.mark.requirement(SECTION, "rule → metric: the rules are those of deploy/prometheus")
def test_the_rules_are_those_of_prometheus() -> None:
    """The tests of those files show that each metric exists."""
    found = of_kind(objects(merged(read_values("minimal"), RULES_ALONE)), "PrometheusRule")
    files = [path for path in generated() if path.parent.name == "rules"]
    contents = [path.read_text(encoding="utf-8").replace(RUNBOOKS, "https://wiki.example.com") for path in files]
    assert [one["spec"] for one in found] == [yaml.safe_load(text) for text in contents]


def test_the_chart_has_the_version_of_the_project() -> None:
    """The tag of the image is the chart's appVersion unless the values name another."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert {chart["version"], chart["appVersion"]} == {project["version"]}


def test_the_package_has_what_the_templates_read(tmp_path: Path) -> None:
    """`helm package` leaves out the examples, and nothing that a template needs."""
    with tarfile.open(helm_python.package(CHART, destination=tmp_path)) as archive:
        names = {name.removeprefix("event-streams/") for name in archive.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "files/catalogue.json"} <= names
    assert not [name for name in names if name.startswith("ci/")]
    assert {f"examples/{case}.yaml" for case in usual_cases()} <= names


@pytest.mark.requirement(SECTION, "a complete file of values for each usual case")
def test_each_usual_case_has_a_file_that_the_page_names() -> None:
    """The tests of all examples render them."""
    text = page("docs/how-to/deploy-kubernetes.md").text
    named = set(re.findall(r"^\| `([a-z-]+)\.yaml` \|", text, re.MULTILINE))
    assert named == set(usual_cases()) == {"managed-kafka", "small", "strimzi"}
    for case in usual_cases():
        (first, *_) = (CHART / "examples" / f"{case}.yaml").read_text(encoding="utf-8").splitlines()
        assert first.startswith("# ")
