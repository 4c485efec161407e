"""Writes the schemas of the event classes to the file registry.

A changed class gets a new version with a new id. A committed version never changes, since records refer to it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from schemas import Event
from schemas.avro_type import BadSchemaError
from schemas.evolution import BreakingChange, Version, breaking_changes
from schemas.registry import COMMITTED, INDEX, FileRegistry, RegisteredSchema
from schemas.sensitivity import tag_schema
from streams.schema_registry.constraints import allowed_values
from streams.schema_registry.schema_limits import readable_type
from streams.topics import Catalogue

NAMESPACE = "streams"
Cause = Literal["new", "changed", "draft", "unnoted"]


class SchemaExportError(Exception):
    """The generator is not installed, or it cannot express a class. The message is one line."""


class IncompatibleChangeError(SchemaExportError):
    """A changed class is not compatible with its earlier versions. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Drift:
    """An event class that differs from its newest version in the registry, or whose newest version is a draft."""

    subject: str
    event: str
    file: str
    """The file that `export` would write."""
    replaces: str | None
    """The file of the newest version. None if the subject is new."""
    cause: Cause

    def __str__(self) -> str:
        match self.cause:
            case "new":
                return f"{self.file} is missing: {self.event} has no schema yet; run `streams schemas export`"
            case "draft":
                return f"{self.replaces} is a draft; run `streams schemas export` to make it final"
            case "unnoted":
                return f"{INDEX} does not say which values {self.event} allows; run `streams schemas export`"
        return f"{self.replaces} differs from {self.event}; run `streams schemas export`, which writes {self.file}"


@dataclass(frozen=True, slots=True)
class SubjectBreak:
    """One incompatible change of an event class."""

    subject: str
    event: str
    file: str
    found: BreakingChange

    def __str__(self) -> str:
        return f"{self.subject.removesuffix('-value')} {self.found}"


def avro_schema(event: type[Event]) -> dict[str, object]:
    """Return the Avro record of an event class, ``streams.<class name>``.

    Docs are left out: a changed sentence is not a changed schema. So are defaults that a factory creates for each
    event (its id, its time): the generator would write one arbitrary value. Raises SchemaExportError.
    """
    try:
        import py_avro_schema  # noqa: PLC0415 - a development tool; workers and producers do not need it
    except ImportError as error:
        message = "py-avro-schema is not installed: install the extra `dev`"
        raise SchemaExportError(message) from error
    try:
        schema = json.loads(py_avro_schema.generate(event, namespace=NAMESPACE, options=py_avro_schema.Option.NO_DOC))
    except TypeError as error:
        message = f"{event.__name__} cannot be expressed in Avro: {error}"
        raise SchemaExportError(message) from error
    created_per_event = {
        name for name, field in event.model_fields.items() if field.default_factory not in {None, list, dict}
    }
    for field in schema["fields"]:
        if field["name"] in created_per_event:
            field.pop("default", None)
    _drop_defaults_of_enums(schema)
    tag_schema(schema, event)
    try:
        readable_type(schema)
    except BadSchemaError as error:
        message = f"{event.__name__} cannot be an event: {error}"
        raise SchemaExportError(message) from error
    fields = schema.pop("fields")
    return {**schema, "fields": fields}


def _drop_defaults_of_enums(part: object) -> None:
    """Remove the defaults of enums. The generator sets the first symbol, which replaces symbols unknown to a reader.

    A reader would then silently get another event. Without a default, `streams schemas check` rejects a new symbol.
    """
    if isinstance(part, dict):
        if part.get("type") == "enum":
            part.pop("default", None)
        for inner in part.values():
            _drop_defaults_of_enums(inner)
    elif isinstance(part, list):
        for inner in part:
            _drop_defaults_of_enums(inner)


def pending(
    catalogue: Catalogue, registered: Iterable[RegisteredSchema], *, draft: bool = False
) -> list[RegisteredSchema]:
    """Return the versions to write, so that each subject's newest version matches its class, in catalogue order.

    If the newest version is a draft, or does not record the allowed values, it is replaced and keeps its id. Otherwise
    a version is added.

    Args:
        catalogue: The topics and their events.
        registered: The versions in the registry.
        draft: Whether new versions are drafts.

    Raises:
        SchemaExportError: A class cannot be expressed in Avro.
    """
    known = list(registered)
    newest, last_id = _newest(known), max((one.id for one in known), default=0)
    written: list[RegisteredSchema] = []
    for topic in catalogue:
        subject = catalogue.subject(topic.name)
        schema, allowed = avro_schema(topic.event), allowed_values(topic.event)
        before = newest.get(subject)
        if before is not None and (before.schema, before.allowed) == (schema, allowed) and (draft or not before.draft):
            continue
        if before is not None and (before.draft or (before.schema == schema and before.allowed is None)):
            written.append(replace(before, schema=schema, allowed=allowed, draft=before.draft and draft))
            continue
        last_id += 1
        version = 1 if before is None else before.version + 1
        file = f"{subject.removesuffix('-value')}.v{version}.avsc"
        written.append(RegisteredSchema(last_id, subject, version, file, schema, allowed, draft=draft))
    return written


def drifts(catalogue: Catalogue, registry: FileRegistry) -> list[Drift]:
    """Return the differences between the registry's newest versions and the classes, and the drafts."""
    events = _event_names(catalogue)
    found = []
    for written in pending(catalogue, registry):
        before = registry.latest(written.subject)
        replaces = before.file if before else None
        found.append(Drift(written.subject, events[written.subject], written.file, replaces, _cause(before, written)))
    return found


def _cause(before: RegisteredSchema | None, written: RegisteredSchema) -> Cause:
    if before is None:
        return "new"
    if before.schema != written.schema or before.allowed not in (None, written.allowed):
        return "changed"
    return "draft" if before.draft else "unnoted"


def incompatible(catalogue: Catalogue, registered: Iterable[RegisteredSchema]) -> list[SubjectBreak]:
    """Return the changes of classes or of their newest versions that are incompatible with earlier versions.

    Raises SchemaExportError, BadSchemaError.
    """
    known, events = list(registered), _event_names(catalogue)
    current = {**_newest(known), **_newest(pending(catalogue, known))}
    found: list[SubjectBreak] = []
    for topic in catalogue:
        subject = catalogue.subject(topic.name)
        newest = current[subject]
        earlier = [_version(one) for one in known if one.subject == subject and one.version < newest.version]
        broken = breaking_changes(_version(newest), earlier, topic.event.compatibility)
        found.extend(SubjectBreak(subject, events[subject], newest.file, one) for one in broken)
    return found


def export(catalogue: Catalogue, folder: Path, *, draft: bool = False) -> list[RegisteredSchema]:
    """Write the missing versions to a folder's registry, and return them.

    A folder without a registry starts as a copy of the committed one, so that the built-in events keep their ids.

    Args:
        catalogue: The topics and their events.
        folder: The folder of the registry.
        draft: Write drafts, which later exports may replace.

    Raises:
        IncompatibleChangeError: A class has an incompatible change. Nothing was written.
        RegistryError: The folder's registry cannot be read.
        SchemaExportError: A class cannot be expressed in Avro.
        OSError: A file cannot be written.
    """
    begun = (folder / INDEX).exists()
    known = list(FileRegistry(folder if begun else None)) if begun or (COMMITTED / INDEX).exists() else []
    broken = incompatible(catalogue, known)
    if broken:
        raise IncompatibleChangeError(summary(broken))
    written = pending(catalogue, known, draft=draft)
    files = written if begun else [*known, *written]
    if not files:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for schema in files:
        _write_json(folder / schema.file, schema.schema)
    # Write the index last: an interrupted export leaves files without references.
    rows = {schema.id: schema for schema in (*known, *written)}
    _write_json(folder / INDEX, {"schemas": [_index_row(rows[schema_id]) for schema_id in sorted(rows)]})
    return written


def summary(found: "list[Drift] | list[SubjectBreak]") -> str:
    """Return one line: the first finding, and how many more there are."""
    return f"{found[0]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")


def _version(registered: RegisteredSchema) -> Version:
    return Version(registered.version, registered.schema, registered.allowed)


def _newest(registered: Iterable[RegisteredSchema]) -> dict[str, RegisteredSchema]:
    """Return each subject's newest version."""
    return {one.subject: one for one in sorted(registered, key=lambda one: one.version)}


def _event_names(catalogue: Catalogue) -> dict[str, str]:
    return {catalogue.subject(topic.name): topic.event.__name__ for topic in catalogue}


def _index_row(schema: RegisteredSchema) -> dict[str, object]:
    row: dict[str, object] = {
        "id": schema.id, "subject": schema.subject, "version": schema.version, "file": schema.file,
    }  # fmt: skip
    if schema.allowed is not None:
        row["allowed"] = schema.allowed
    if schema.draft:
        row["draft"] = True
    return row


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
