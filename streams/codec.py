"""Bytes ⇄ event: Confluent wire format (a zero byte, four bytes of schema id, Avro) over fastavro."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, Protocol
from uuid import UUID

import fastavro
from fastavro.types import Schema
from pydantic import ValidationError

from schemas import Event
from schemas.registry import FileRegistry, RegisteredSchema, registry_folder
from streams import headers
from streams.avro_reading import PREFIX_LENGTH, FieldReader, field_reader
from streams.headers import Headers
from streams.observe.trace import child_traceparent
from streams.settings import Settings, load_settings
from streams.topics import Catalogue, Topic, load_catalogue

MAGIC = b"\x00"
CONTENT_TYPE = b"application/avro"
DecodeReason = Literal["decode", "validation", "unknown-schema"]


class DecodeError(Exception):
    """Bytes that are no event of their topic; `reason` is the dead letter's."""

    def __init__(self, reason: DecodeReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SchemaMissingError(Exception):
    """An event's schema is not in the registry; the message says how to put it there."""


class Registry(Protocol):
    """Where schemas have their ids."""

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """The schema of an id, or None where the registry does not know it."""

    def latest(self, subject: str) -> RegisteredSchema | None:
        """The newest schema of a subject (`<topic>-value`)."""


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """A record ready to be produced or to be put into the outbox."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    event_id: UUID
    tenant_id: str | None


@dataclass(frozen=True, slots=True)
class _Reader:
    """How the records of one topic and schema id become events."""

    fields: FieldReader
    event: Callable[[object], Event]


class Codec:
    """Encodes events for their topics and decodes records of a topic; schemas are parsed once."""

    def __init__(self, registry: Registry, catalogue: Catalogue, source: str) -> None:
        """`source` becomes `ce_source`: who publishes, such as the application's name."""
        self._registry = registry
        self._catalogue = catalogue
        self._source = source.encode()
        self._writers: dict[type[Event], tuple[Topic, bytes, Schema]] = {}
        self._readers: dict[tuple[str, bytes], _Reader] = {}

    def encode(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """The record of an event, which no attempt begins with from `expires_at` on.

        Raises UnknownEventError, SchemaMissingError; ValueError where Avro refuses it, where `expires_at` has no
        offset, and where the topic's events never expire.
        """
        topic, prefix, schema = self._writer(type(event))
        if expires_at is not None and not topic.expires:
            message = f"{topic.name}: its events never expire, so none can be given an expires_at"
            raise ValueError(message)
        buffer = io.BytesIO()
        buffer.write(prefix)
        try:
            fastavro.schemaless_writer(buffer, schema, event.model_dump())
        except (TypeError, OverflowError) as error:
            message = f"{topic.name}: Avro refuses the event: {error}"
            raise ValueError(message) from error
        key = topic.key_of(event)
        return EncodedEvent(
            topic=topic.name,
            key=key,
            value=buffer.getvalue(),
            headers=self._event_headers(topic, event, key, expires_at),
            event_id=event.event_id,
            tenant_id=event.tenant_id,
        )

    def check(self, kind: type[Event]) -> None:
        """Raise UnknownEventError or SchemaMissingError unless events of a class can be encoded."""
        self._writer(kind)

    def decode(self, topic: str, value: bytes | None) -> Event:
        """The event in a record of a catalogue topic. Raises DecodeError, and nothing else."""
        prefix = b"" if value is None else value[:PREFIX_LENGTH]
        reader = self._readers.get((topic, prefix))
        if reader is None or value is None:
            if len(prefix) < PREFIX_LENGTH or prefix[:1] != MAGIC or value is None:
                message = "the value is not in Confluent's wire format (a zero byte and a schema id come first)"
                raise DecodeError("decode", message)
            reader = self._reader(topic, prefix)
        try:
            fields = reader.fields(value)
        except Exception as error:  # fastavro raises many kinds on foreign bytes; all mean the same here
            message = f"the value is not Avro of its schema: {type(error).__name__}: {error}"
            raise DecodeError("decode", message) from error
        try:
            return reader.event(fields)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            message = f"field {place}: {first['msg']}"
            raise DecodeError("validation", message) from error

    def _writer(self, kind: type[Event]) -> tuple[Topic, bytes, Schema]:
        known = self._writers.get(kind)
        if known is None:
            topic = self._catalogue.of(kind)
            registered = self._registry.latest(self._catalogue.subject(topic.name))
            if registered is None:
                message = f"{topic.name} has no schema in the registry: run `streams schemas export`"
                raise SchemaMissingError(message)
            prefix = MAGIC + registered.id.to_bytes(4, "big")
            known = self._writers[kind] = (topic, prefix, fastavro.parse_schema(registered.schema))
        return known

    def _reader(self, topic: str, prefix: bytes) -> _Reader:
        schema_id = int.from_bytes(prefix[1:], "big")
        registered = self._registry.by_id(schema_id)
        if registered is None:
            message = f"the registry has no schema {schema_id}"
            raise DecodeError("unknown-schema", message)
        subject = self._catalogue.subject(topic)
        if registered.subject != subject:
            message = f"schema {schema_id} is one of {registered.subject}, this topic's are of {subject}"
            raise DecodeError("validation", message)
        latest = self._registry.latest(subject)
        wanted = None if latest is None or latest.id == schema_id else latest.schema
        fields = field_reader(registered.schema, wanted)

        event = self._catalogue.topic(topic).event
        # `model_validate` adds a tenth to the time that it takes for its other arguments.
        made = self._readers[topic, prefix] = _Reader(fields, event.__pydantic_validator__.validate_python)
        return made

    def _event_headers(self, topic: Topic, event: Event, key: bytes, expires_at: datetime | None) -> Headers:
        expiry = () if expires_at is None else ((headers.CE_EXPIRYTIME, headers.time_text(expires_at)),)
        return (
            (headers.CE_SPECVERSION, b"1.0"),
            (headers.CE_ID, str(event.event_id).encode()),
            (headers.CE_TYPE, topic.name.encode()),
            (headers.CE_SOURCE, self._source),
            (headers.CE_TIME, event.occurred_at.isoformat().encode()),
            (headers.CE_SUBJECT, key),
            (headers.CONTENT_TYPE, CONTENT_TYPE),
            (headers.TRACEPARENT, child_traceparent()),
            *expiry,
        )


@lru_cache(maxsize=8)
def open_registry(url: str) -> Registry:
    """The registry of STREAMS_SCHEMA_REGISTRY_URL: `file:` the committed one, `file:PATH` a folder's.

    Raises RegistryError.
    """
    return FileRegistry(registry_folder(url))


def build_codec(settings: Settings, catalogue: Catalogue) -> Codec:
    """The codec of one process."""
    return Codec(open_registry(settings.schema_registry_url), catalogue, source=settings.application)


@lru_cache(maxsize=1)
def default_codec() -> Codec:
    """The codec of this process's environment."""
    settings = load_settings()
    return build_codec(settings, load_catalogue(settings))
