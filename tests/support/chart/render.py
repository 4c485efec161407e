"""Renders the chart with Helm's own engine, as `helm template`, `helm lint` and `helm install` do."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, _native, lint

from tests.support.chart.files import CHART

Object = dict[str, Any]
"""A Kubernetes object."""

RELEASE = "demo"
NAMESPACE = "events"
MONITORING = "monitoring.coreos.com/v1"
_FEATURES, _CASES = CHART / "ci", CHART / "examples"


@cache
def _chart() -> Chart:
    return Chart.load(CHART)


def examples() -> list[str]:
    """Return the names of the example values: `minimal` for ci/minimal-values.yaml, `small` for examples/small.yaml."""
    return sorted([*(path.name.removesuffix("-values.yaml") for path in _FEATURES.glob("*.yaml")), *usual_cases()])


def usual_cases() -> list[str]:
    """Return the names of the files that users begin with. Each is complete, and the chart's package has it."""
    return sorted(path.stem for path in _CASES.glob("*.yaml"))


@cache
def example(name: str) -> tuple[Object, ...]:
    """Return the objects of one example. They must not be changed."""
    return tuple(objects(read_values(name)))


def read_values(name: str) -> dict[str, Any]:
    """Return the values of one example. Those of a feature are on top of the minimal ones."""
    if name in usual_cases():
        return _load(_CASES / f"{name}.yaml")
    minimal = _load(_FEATURES / "minimal-values.yaml")
    return minimal if name == "minimal" else merged(minimal, _load(_FEATURES / f"{name}-values.yaml"))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as Helm merges two files: maps key by key, anything else is replaced."""
    both = {name: merged(base[name], over[name]) for name in base if isinstance(base[name], dict) and name in over}
    return {**base, **over, **both}


def render(
    values: Mapping[str, Any], *, apis: Iterable[str] = (), chart: Chart | None = None, release: str = RELEASE
) -> dict[str, str]:
    """Return the rendered text of each template that is not empty.

    Args:
        values: The values of the user.
        apis: The groups with versions that the cluster has besides Kubernetes' own.
        chart: A chart in place of the one of this project.
        release: The name of the release.
    """
    chart = chart or _chart()
    chart.validate_schema(dict(values))
    options = {"name": release, "namespace": NAMESPACE, "api_versions": list(apis)}
    # The method `Chart.render` does not pass on the APIs; Helm's engine takes them.
    rendered: dict[str, str] = json.loads(
        _native.call_string("helm_render", chart._raw(), json.dumps(values), json.dumps(options))
    )
    return {path.removeprefix("event-streams/templates/"): text for path, text in rendered.items() if text.strip()}


def objects(
    values: Mapping[str, Any], *, apis: Iterable[str] = (), chart: Chart | None = None, release: str = RELEASE
) -> list[Object]:
    """Return the Kubernetes objects; the arguments are those of `render`."""
    texts = render(values, apis=apis, chart=chart, release=release)
    return [
        found
        for path, text in sorted(texts.items())
        if path != "NOTES.txt"
        for found in yaml.load_all(text, Loader=yaml.CSafeLoader)  # the one in Python is ten times as slow
        if found
    ]


def of_kind(found: Iterable[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [one for one in found if one["kind"] in kinds]


def pod_templates(found: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """Yield each object that has pods, with the metadata and specification of such a pod."""
    for one in found:
        if one["kind"] == "Pod":
            yield one, one
        elif one["kind"] in {"Deployment", "Job"}:
            yield one, one["spec"]["template"]


def lint_messages(values: Mapping[str, Any], *, kubernetes: str) -> list[str]:
    """Return the errors and warnings of `helm lint --strict` for a version of Kubernetes such as `1.34`."""
    report = lint(CHART, dict(values), strict=True, namespace=NAMESPACE, kube_version=f"v{kubernetes}.0")
    return [*report["errors"], *(one["error"] for one in report["messages"] if one["severity"] > 1)]


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded
