"""`python -m tests.support.chart.custom_kinds SOURCE FILE…` extracts schemas from CustomResourceDefinitions.

The extract has the fields that the chart uses, and refuses all others. SOURCE says where the files are from, for
example `github.com/kedacore/keda v2.21.0`. Descriptions are left out.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.support.chart.object_schemas import CUSTOM_KINDS
from tests.support.chart.render import example, examples

_KEPT = (
    "type", "enum", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "anyOf", "oneOf", "allOf",
)  # fmt: skip
_WHOLE = {"PrometheusRule"}
"""Small kinds, of which every field is kept."""


def extract(schema: Any, used: Iterable[Any], *, whole: bool = False) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the part of a schema that the given values use.

    Args:
        schema: A schema of OpenAPI 3, as resource definitions have it.
        used: The values at this place.
        whole: Keep every field.
    """
    values = list(used)
    found: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if "items" in schema:
        inner = [item for value in values if isinstance(value, list) for item in value]
        found["items"] = extract(schema["items"], inner, whole=whole)
    if "properties" in schema:
        names = {name for value in values if isinstance(value, dict) for name in value}
        required = schema.get("required", [])
        found["properties"] = {
            name: extract(
                one, [value[name] for value in values if isinstance(value, dict) and name in value], whole=whole
            )
            for name, one in sorted(schema["properties"].items())
            if whole or name in names or name in required
        }
        found["additionalProperties"] = False
        if required:
            found["required"] = required
    elif "additionalProperties" in schema:
        extra = schema["additionalProperties"]
        found["additionalProperties"] = extract(extra, [], whole=whole) if isinstance(extra, dict) else extra
    return found


def main(source: str, paths: Iterable[str]) -> None:
    """Write the extracts of the definitions into custom_kinds.json, beside those that it has."""
    rendered = [one for name in examples() for one in example(name)]
    content = json.loads(CUSTOM_KINDS.read_text(encoding="utf-8")) if CUSTOM_KINDS.exists() else {}
    for path in paths:
        definition = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["spec"]
        kind = definition["names"]["kind"]
        for version in definition["versions"]:
            api = f"{definition['group']}/{version['name']}"
            used = [one for one in rendered if (one["apiVersion"], one["kind"]) == (api, kind)]
            if used or kind in _WHOLE:
                schema = version["schema"]["openAPIV3Schema"]
                reduced = extract(schema, used, whole=kind in _WHOLE)
                reduced["properties"]["metadata"] = {"type": "object"}
                reduced["properties"].pop("status", None)
                content[f"{api}/{kind}"] = {"source": source, "licence": "Apache-2.0", "schema": reduced}
    CUSTOM_KINDS.write_text(json.dumps(dict(sorted(content.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
