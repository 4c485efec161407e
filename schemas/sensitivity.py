"""Marks of sensitive fields: set in the event class, stored in its Avro file.

An annotation marks a field, ``email: Annotated[str, Personal]``, also inside a list, an optional or a nested model. In
the Avro file the field has ``"confluent:tags": ["PII"]`` or ``["SECRET"]``. Confluent-compatible registries know these
tags, so their rules apply to the same fields.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Final, TypeAlias, get_args, get_origin

from pydantic import BaseModel

TAGS: Final = "confluent:tags"
"""The property of an Avro field: a list of tags."""


class Sensitivity(IntEnum):
    """Why a field's value is sensitive. If both marks are given, the higher one applies."""

    PERSONAL = 1
    """About a person: masked in all output, complete in every record."""
    SECRET = 2
    """A credential (codes, tokens): masked in all output, in no dead letter, kept for an hour on its topic."""


Personal: Final = Sensitivity.PERSONAL
Secret: Final = Sensitivity.SECRET
Marks: TypeAlias = Mapping[str, "Sensitivity | Marks"]
"""Field → its mark, or the marks of the model inside it, also inside a list. The mapping may be recursive."""

TAG_OF: Final = {Personal: "PII", Secret: "SECRET"}
_BY_TAG: Final = {tag: mark for mark, tag in TAG_OF.items()}
_Found: TypeAlias = Sensitivity | dict[str, "_Found"]


@lru_cache(maxsize=1024)
def marks_of(model: type[BaseModel]) -> Marks | None:
    """Return the marked fields of an event class; None: none."""
    return _pruned(_of_model(model, {}))


def marks_of_schema(schema: object) -> Marks | None:
    """Return the marked fields of an Avro record in JSON form; None: none, or not a record."""
    found = _of_schema(schema, {})
    return _pruned(found) if isinstance(found, dict) else None


def has_secret(marks: Marks | None) -> bool:
    """Return whether any field, at any depth, is secret."""
    return marks is not None and any(mark is Secret for mark in _leaves(marks, []))


def tag_schema(schema: object, event: type[BaseModel]) -> None:
    """Write the marks of an event class into its Avro record and the records inside it."""
    models: dict[type[BaseModel], dict[str, _Found]] = {}
    _of_model(event, models)
    by_name = {model.__name__: found for model, found in models.items()}
    for record in _records(schema):
        for field in _fields(record):
            mark = by_name.get(str(record["name"]), {}).get(str(field["name"]))
            if isinstance(mark, Sensitivity):
                field[TAGS] = [TAG_OF[mark]]


def _of_model(model: type[BaseModel], known: dict[type[BaseModel], dict[str, _Found]]) -> dict[str, _Found]:
    if model not in known:
        marks = known[model] = {}
        for name, field in model.model_fields.items():
            found = _of_type(field.annotation, field.metadata, known)
            if found is not None:
                marks[name] = found
    return known[model]


def _of_type(
    annotation: object, metadata: Iterable[object], known: dict[type[BaseModel], dict[str, _Found]]
) -> _Found | None:
    marks = [mark for mark in metadata if isinstance(mark, Sensitivity)]
    if marks:
        return max(marks)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of_type(arguments[0], arguments[1:], known)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _of_model(annotation, known)
    found = _merged([_of_type(argument, (), known) for argument in arguments])
    if isinstance(origin, type) and issubclass(origin, Mapping) and found is not None:
        # The keys of a mapping are data, so a mark inside it applies to the whole mapping.
        return max(_leaves(found, []), default=None)
    return found


def _of_schema(schema: object, known: dict[str, dict[str, _Found]]) -> _Found | None:
    match schema:
        case str(name):
            return known.get(name.rpartition(".")[2])
        case list(branches):
            return _merged([_of_schema(branch, known) for branch in branches])
        case {"type": "record", "name": str(name), "fields": list(fields)}:
            marks = known[name.rpartition(".")[2]] = {}
            for field in fields:
                found = _tagged(field) or _of_schema(field.get("type"), known)
                if found is not None:
                    marks[str(field["name"])] = found
            return marks
        case {"type": "map", "values": values}:
            inside = _of_schema(values, known)
            return None if inside is None else max(_leaves(inside, []), default=None)
        case {"type": "array", "items": inner} | {"type": dict() | list() as inner}:
            return _of_schema(inner, known)
    return None


def _tagged(field: Mapping[str, object]) -> Sensitivity | None:
    tags = field.get(TAGS)
    known = [_BY_TAG[tag] for tag in tags if tag in _BY_TAG] if isinstance(tags, list) else []
    return max(known, default=None)


def _merged(found: Iterable[_Found | None]) -> _Found | None:
    """Merge the marks of alternatives. A mark on one branch applies to all."""
    present = [one for one in found if one is not None]
    if len(present) <= 1:
        return present[0] if present else None
    if any(isinstance(one, Sensitivity) for one in present):
        return max(mark for one in present for mark in _leaves(one, []))
    merged: dict[str, _Found] = {}
    for one in present:
        if isinstance(one, dict):
            merged.update(one)
    return merged


def _pruned(marks: dict[str, _Found]) -> Marks | None:
    """Remove nested models without marks, so that masking skips them."""
    kept = {name: found for name, found in marks.items() if any(True for _ in _leaves(found, []))}
    return kept or None


def _leaves(found: Sensitivity | Marks, seen: list[object]) -> Iterator[Sensitivity]:
    if isinstance(found, Sensitivity):
        yield found
    elif not any(found is one for one in seen):
        seen.append(found)
        for inner in found.values():
            yield from _leaves(inner, seen)


def _records(schema: object) -> Iterator[dict[str, object]]:
    if isinstance(schema, list):
        for branch in schema:
            yield from _records(branch)
    elif isinstance(schema, dict):
        if schema.get("type") == "record":
            yield schema
        for part in ("type", "items", "values"):
            yield from _records(schema.get(part))
        for field in _fields(schema):
            yield from _records(field.get("type"))


def _fields(record: Mapping[str, object]) -> list[dict[str, object]]:
    fields = record.get("fields")
    return [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []
