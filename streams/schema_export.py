"""From the event classes to the file registry: which Avro files there should be, and writing them.

A changed class gets a new version and a new id; nothing that was committed is changed, since records refer to it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas import Event
from schemas.registry import COMMITTED, INDEX, FileRegistry, RegisteredSchema
from streams.topics import Catalogue

NAMESPACE = "streams"


class SchemaExportError(Exception):
    """The generator is not installed or cannot express a class; the message is one line."""


@dataclass(frozen=True, slots=True)
class Drift:
    """An event whose class is not what the registry's newest file says."""

    subject: str
    event: str
    file: str
    """The file that `export` would write."""
    replaces: str | None
    """The file of the version before it; None where the subject is new."""

    def __str__(self) -> str:
        if self.replaces is None:
            return f"{self.file} is missing: {self.event} has no schema yet; run `streams schemas export`"
        return f"{self.replaces} differs from {self.event}; run `streams schemas export`, which adds {self.file}"


def avro_schema(event: type[Event]) -> dict[str, object]:
    """The Avro record of an event class, ``streams.<class name>``.

    Without docs: a changed sentence is not a changed schema. Without the defaults that a factory makes anew for each
    event (its id, its time): the generator would write down the value that it happened to get.
    Raises SchemaExportError.
    """
    try:
        import py_avro_schema  # noqa: PLC0415 - a tool of development; workers and producers go without it
    except ImportError as error:
        message = "py-avro-schema is not installed; it comes with the extra `dev`"
        raise SchemaExportError(message) from error
    try:
        schema = json.loads(py_avro_schema.generate(event, namespace=NAMESPACE, options=py_avro_schema.Option.NO_DOC))
    except TypeError as error:
        message = f"{event.__name__} cannot be expressed in Avro: {error}"
        raise SchemaExportError(message) from error
    made_anew = {name for name, field in event.model_fields.items() if field.default_factory not in {None, list, dict}}
    for field in schema["fields"]:
        if field["name"] in made_anew:
            field.pop("default", None)
    fields = schema.pop("fields")
    return {**schema, "fields": fields}


def pending(catalogue: Catalogue, registered: Iterable[RegisteredSchema]) -> list[RegisteredSchema]:
    """The versions that are to be added so that each subject's newest is what its class says, in catalogue order."""
    newest: dict[str, RegisteredSchema] = {}
    last_id = 0
    for known in registered:
        last_id = max(last_id, known.id)
        if known.subject not in newest or known.version > newest[known.subject].version:
            newest[known.subject] = known
    added: list[RegisteredSchema] = []
    for topic in catalogue:
        subject = catalogue.subject(topic.name)
        schema = avro_schema(topic.event)
        before = newest.get(subject)
        if before is not None and before.schema == schema:
            continue
        version = 1 if before is None else before.version + 1
        file = f"{subject.removesuffix('-value')}.v{version}.avsc"
        added.append(RegisteredSchema(last_id + len(added) + 1, subject, version, file, schema))
    return added


def drifts(catalogue: Catalogue, registry: FileRegistry) -> list[Drift]:
    """Where the registry's newest versions differ from the classes; empty when all agree."""
    events = {catalogue.subject(topic.name): topic.event.__name__ for topic in catalogue}
    found = []
    for added in pending(catalogue, registry):
        before = registry.latest(added.subject)
        found.append(Drift(added.subject, events[added.subject], added.file, before.file if before else None))
    return found


def export(catalogue: Catalogue, folder: Path) -> list[RegisteredSchema]:
    """Write what is missing in a folder's registry; returns what was added.

    A folder without a registry starts as a copy of the committed one, so that the built-in events keep their ids.
    Raises RegistryError, SchemaExportError, OSError.
    """
    if (folder / INDEX).exists():
        known = list(FileRegistry(folder))
        added = pending(catalogue, known)
        to_write: Sequence[RegisteredSchema] = added
    else:
        known = list(FileRegistry()) if (COMMITTED / INDEX).exists() else []
        added = pending(catalogue, known)
        to_write = [*known, *added]
    if not to_write:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for schema in to_write:
        _write_json(folder / schema.file, schema.schema)
    # The index last: an export that was cut short leaves files that nothing refers to.
    _write_json(folder / INDEX, {"schemas": list(_index_rows([*known, *added]))})
    return added


def _index_rows(schemas: Iterable[RegisteredSchema]) -> Iterator[dict[str, object]]:
    for schema in sorted(schemas, key=lambda schema: schema.id):
        yield {"id": schema.id, "subject": schema.subject, "version": schema.version, "file": schema.file}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
