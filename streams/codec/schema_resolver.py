"""Finds the schemas of event classes and of records, and compiles their writers and readers."""

from collections.abc import Callable
from dataclasses import dataclass

import fastavro
from fastavro.types import Schema

from schemas import Event
from schemas.registry import FileRegistry, RegisteredSchema
from streams import headers
from streams.codec.avro_reader import FieldReader, field_reader
from streams.codec.avro_writer import Writer, compile_writer
from streams.codec.errors import DecodeError, SchemaMissingError
from streams.codec.event_fields import EventFields, fields_of
from streams.codec.writer_schema import MAGIC
from streams.schema_registry.clients import Registry
from streams.topics import Catalogue, Topic, UnknownEventError


@dataclass(frozen=True, slots=True)
class EventWriter:
    """Converts the events of one class to records."""

    topic: Topic
    prefix: bytes
    fields: EventFields
    write: Writer
    ce_type: tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class EventReader:
    """Converts the records of one topic and schema id to events."""

    fields: FieldReader
    event: Callable[[object], Event]


class SchemaResolver:
    """Resolves schemas by the registry's ids and the files that belong to this version's classes."""

    def __init__(self, registry: Registry, files: FileRegistry, catalogue: Catalogue) -> None:
        """Create the resolver.

        Args:
            registry: Assigns the ids of schemas.
            files: The schemas of this version's event classes.
            catalogue: The topics and their events.
        """
        self._registry = registry
        self.files = files
        self._catalogue = catalogue

    def writer(self, kind: type[Event]) -> EventWriter:
        """Return the writer for an event class. Raises UnknownEventError, SchemaMissingError.

        With a registry over HTTP, it also raises RegistryUnavailableError or, if it must not block,
        SchemaNotFetchedError.
        """
        topic = self._catalogue.of(kind)
        subject, names = self._catalogue.subject(topic.name), frozenset(kind.model_fields)
        registered = self._registry.own(subject, names)
        if registered is None:
            step = "export" if self.files.own(subject, names) is None else "register"
            message = f"the current {kind.__name__} has no schema in the registry: run `streams schemas {step}`"
            raise SchemaMissingError(message)
        prefix = MAGIC + registered.id.to_bytes(4, "big")
        write, scalars = compile_writer(registered.schema)
        ce_type = (headers.CE_TYPE, topic.name.encode())
        return EventWriter(topic, prefix, fields_of(kind, scalars=scalars), write, ce_type)

    def reader(self, topic: str, prefix: bytes) -> EventReader:
        """Return the reader for a topic's records with a prefix: the magic byte and the schema id.

        Raises DecodeError. With a registry over HTTP, it also raises RegistryUnavailableError or, if it must not
        block, SchemaNotFetchedError.
        """
        schema_id = int.from_bytes(prefix[1:], "big")
        registered = self._registry.by_id(schema_id)
        if registered is None:
            message = f"the registry has no schema {schema_id}"
            raise DecodeError("unknown-schema", message)
        try:
            event, subject = self._catalogue.topic(topic).event, self._catalogue.subject(topic)
        except UnknownEventError as error:
            raise DecodeError("validation", str(error)) from error
        if not _is_of(registered, subject, event):
            owner = registered.subject or registered.schema.get("name") or "no record"
            message = f"schema {schema_id} belongs to {owner}, but this topic's schemas belong to {subject}"
            raise DecodeError("validation", message)
        own = self.files.own(subject, frozenset(event.model_fields))
        try:
            # A registry may return the same schema with other formatting.
            evolved = own is not None and _canonical(own.schema) != _canonical(registered.schema)
            fields = field_reader(registered.schema, own.schema if own is not None and evolved else None)
        except Exception as error:  # anybody may register, and fastavro raises many kinds for an invalid schema
            message = f"schema {schema_id} cannot be used: {type(error).__name__}: {error}"
            raise DecodeError("validation", message) from error

        # `model_validate` takes a tenth longer, for its other arguments.
        return EventReader(fields, event.__pydantic_validator__.validate_python)


def _canonical(schema: Schema) -> str:
    """Return Avro's canonical form. Schemas with the same form have the same bytes."""
    return fastavro.schema.to_parsing_canonical_form(fastavro.parse_schema(schema))


def _is_of(registered: RegisteredSchema, subject: str, event: type[Event]) -> bool:
    """Return True if a schema belongs to the topic: by its subject or, if that is unknown, by its record's name."""
    if registered.subject:
        return registered.subject == subject
    return str(registered.schema.get("name")).rpartition(".")[2] == event.__name__
