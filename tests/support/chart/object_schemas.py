"""Checks Kubernetes objects strictly: an unknown field is an error, as with `kubectl apply --validate=strict`.

The schemas of Kubernetes' own kinds come from the package kubernetes-validate. Those of other kinds are in
custom_kinds.json: extracts of the resource definitions of KEDA, the Prometheus operator and External Secrets, made by
`python -m tests.support.chart.custom_kinds`, and the fields of Strimzi's topics and users.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.support.chart.render import Object
from tests.support.pages import ROOT

CUSTOM_KINDS = ROOT / "tests" / "support" / "chart" / "custom_kinds.json"
KUBERNETES = ("1.30", "1.34", "1.37")
"""The oldest version that the chart supports, one between, and the newest with schemas."""
_SHOWN = 300


def is_custom(found: Object) -> bool:
    """Return whether the kind is not Kubernetes' own: its schema is the same for every version of Kubernetes."""
    group = found["apiVersion"].rpartition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


def problems(found: Object, version: str) -> list[str]:
    """Return what is wrong with an object for a version of Kubernetes, one line each. Raises LookupError."""
    return list(_problems(json.dumps(found, sort_keys=True), "" if is_custom(found) else version))


@cache
def _problems(text: str, version: str) -> tuple[str, ...]:
    """Return the problems of an object. Most objects of two examples are the same, so each is checked once."""
    found = json.loads(text)
    place = f"{found['kind']}/{found['metadata']['name']}"
    return tuple(
        f"{place}: {'.'.join(map(str, error.absolute_path))}: {error.message[:_SHOWN]}"
        for error in _validator(found["apiVersion"], found["kind"], version).iter_errors(found)
    )


@cache
def _validator(api: str, kind: str, version: str) -> Draft202012Validator:
    if not version:
        schema = custom_kinds().get(f"{api}/{kind}")
        if schema is None:
            message = f"custom_kinds.json lacks {api}/{kind}"
            raise LookupError(message)
        return Draft202012Validator(schema)
    group = api.rpartition("/")[0]
    name = f"{kind.lower()}-{api.replace(group, group.partition('.')[0]).replace('/', '-')}.json"
    definitions = _read(version, "_definitions.json")
    registry: Any = Registry().with_resource("_definitions.json", Resource.from_contents(definitions))
    return Draft202012Validator(_read(version, name), registry=registry)


@cache
def custom_kinds() -> dict[str, Mapping[str, object]]:
    """Return the schema of each custom kind, such as `keda.sh/v1alpha1/ScaledObject`."""
    content = json.loads(CUSTOM_KINDS.read_text(encoding="utf-8"))
    return {name: one["schema"] for name, one in content.items()}


@cache
def _read(version: str, name: str) -> Any:  # noqa: ANN401 - JSON is anything
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return json.loads((folder / name).read_text(encoding="utf-8"))
