"""Finds the values that an event's class allows beyond its Avro types: texts of a Literal, bounds, patterns.

Avro cannot express these limits, but `streams schemas check` needs them. A record that Avro accepts and the class
rejects becomes a dead letter.
"""

from collections.abc import Iterator
from typing import cast

from pydantic.errors import PydanticInvalidForJsonSchema

from schemas import Event
from schemas.evolution import Allowed

JSON = dict[str, object]
_KEYWORDS = (
    "enum", "pattern", "multipleOf", "uniqueItems", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum",
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
)  # fmt: skip
_DEFINITIONS = "#/$defs/"


def allowed_values(event: type[Event]) -> Allowed:
    """Return keywords of JSON Schema by field, such as `quota.unit` or `lines[].amount`. Other fields are left out.

    Validator functions are ignored: only their code knows what they reject.
    """
    try:
        schema = cast("JSON", event.model_json_schema(by_alias=False))
    except PydanticInvalidForJsonSchema:
        return {}
    found: dict[str, JSON] = {}
    definitions = cast("dict[str, JSON]", schema.get("$defs", {}))
    for place, keyword, value in _keywords(schema, "", definitions, frozenset()):
        there = found.setdefault(place, {})
        both = there.get(keyword)
        there[keyword] = [*both, *value] if isinstance(both, list) and isinstance(value, list) else value
    return found


def _keywords(
    node: JSON, place: str, definitions: dict[str, JSON], within: frozenset[str]
) -> Iterator[tuple[str, str, object]]:
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix(_DEFINITIONS)
        # An Enum class is an enum in Avro too, and is compared there.
        if name not in within and name in definitions and "enum" not in definitions[name]:
            yield from _keywords(definitions[name], place, definitions, within | {name})
        return
    for keyword in _KEYWORDS:
        if keyword in node:
            yield place, keyword, node[keyword]
    if "const" in node:
        yield place, "enum", [node["const"]]
    for part, inner in _parts(node, place):
        yield from _keywords(part, inner, definitions, within)


def _parts(node: JSON, place: str) -> Iterator[tuple[JSON, str]]:
    for combined in ("anyOf", "oneOf", "allOf"):
        for branch in cast("list[JSON]", node.get(combined, [])):
            yield branch, place
    for name, part in cast("dict[str, JSON]", node.get("properties", {})).items():
        yield part, f"{place}.{name}" if place else name
    for held in ("items", "additionalProperties"):
        if isinstance(inside := node.get(held), dict):
            yield inside, f"{place}[]"
