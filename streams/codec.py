"""Bytes ⇄ event: Confluent wire format (a zero byte, four bytes of schema id, Avro) over fastavro."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, Protocol
from uuid import UUID

import fastavro
from fastavro.read import SchemaResolutionError
from fastavro.types import Schema
from pydantic import ValidationError

from schemas import Event
from schemas.registry import COMMITTED, FileRegistry, RegisteredSchema, RegistryError, registry_folder
from streams import headers
from streams.avro_reading import PREFIX_LENGTH, FieldReader, field_reader
from streams.avro_writing import EPOCH, Writer, compile_writer, microseconds
from streams.headers import Headers
from streams.http_registry import HttpRegistry
from streams.observe.trace import child_traceparent
from streams.settings import Settings, load_settings
from streams.topics import Catalogue, Topic, load_catalogue

MAGIC = b"\x00"
SPECVERSION = (headers.CE_SPECVERSION, b"1.0")
CONTENT_TYPE = (headers.CONTENT_TYPE, b"application/avro")
DecodeReason = Literal["decode", "validation", "unknown-schema"]


class DecodeError(Exception):
    """Bytes that are no event of their topic; `reason` is the dead letter's."""

    def __init__(self, reason: DecodeReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SchemaMissingError(Exception):
    """An event's schema is not in the registry; the message says how to put it there."""


class SchemaNotFetchedError(Exception):
    """The registry has to be asked first, and this codec may not wait for it: `fetch` does, in another thread."""

    def __init__(self, what: object, fetch: Callable[[], object]) -> None:
        """`what`: the same for two of these exactly where one request answers both."""
        super().__init__(f"the schema registry has to be asked for {what}")
        self.what = what
        self.fetch = fetch


class Registry(Protocol):
    """Where schemas have their ids. One over HTTP also raises RegistryUnavailableError."""

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """The schema of an id, without a subject where that is not told; None where the registry does not know it."""

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """Of a subject (`<topic>-value`) the version that a class of those fields stands for."""


class _WithoutWaiting:
    """A registry over HTTP as an event loop may ask it: what was not told yet raises SchemaNotFetchedError."""

    def __init__(self, registry: HttpRegistry) -> None:
        self._registry = registry

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        try:
            return self._registry.known(schema_id)
        except KeyError:
            raise SchemaNotFetchedError(schema_id, partial(self._registry.by_id, schema_id)) from None

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        try:
            return self._registry.known_own(subject, fields)
        except KeyError:
            raise SchemaNotFetchedError(subject, partial(self._registry.own, subject, fields)) from None


@dataclass(slots=True)
class EncodedEvent:
    """A record ready to be produced or to be put into the outbox. Not frozen: making one would cost thrice as much."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    event_id: UUID
    tenant_id: str | None


@dataclass(frozen=True, slots=True)
class _Writer:
    """How the events of one class become records."""

    topic: Topic
    prefix: bytes
    fields: Callable[[Event], dict[str, object]]
    write: Writer
    ce_type: tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class _Reader:
    """How the records of one topic and schema id become events."""

    fields: FieldReader
    event: Callable[[object], Event]


class Codec:
    """Encodes events for their topics and decodes records of a topic; schemas are parsed once."""

    def __init__(self, registry: Registry, files: FileRegistry, catalogue: Catalogue, source: str) -> None:
        """`registry` gives ids, `files` say what the classes of this code stand for.

        `source` becomes `ce_source`: who publishes, such as the application's name.
        """
        self._registry = registry
        self._files = files
        self._catalogue = catalogue
        self._source = (headers.CE_SOURCE, source.encode())
        self._writers: dict[type[Event], _Writer] = {}
        self._readers: dict[tuple[str, bytes], _Reader] = {}

    def encode(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """The record of an event, which no attempt begins with from `expires_at` on.

        Raises UnknownEventError, SchemaMissingError; ValueError where Avro refuses it, where `expires_at` has no
        offset, and where the topic's events never expire.

        At the first event of a class, with a registry over HTTP, also RegistryUnavailableError; SchemaNotFetchedError
        of a codec that may not wait.
        """
        writer = self._writers.get(type(event)) or self._writer(type(event))
        if expires_at is not None and not writer.topic.expires:
            message = f"{writer.topic.name}: its events never expire, so none can be given an expires_at"
            raise ValueError(message)
        fields = writer.fields(event)
        # On the wire as text, and in a header: made once.
        event_id = fields["event_id"] = _uuid_text(event.event_id)
        occurred_at = event.occurred_at
        if occurred_at.tzinfo is UTC:
            fields["occurred_at"] = micros = microseconds(occurred_at)
            ce_time = utc_text(micros)
        else:
            ce_time = occurred_at.isoformat()
        try:
            value = writer.prefix + writer.write(fields)
        except (TypeError, OverflowError) as error:
            message = f"{writer.topic.name}: Avro refuses the event: {error}"
            raise ValueError(message) from error
        key = str(getattr(event, writer.topic.key)).encode()
        sent = self._event_headers(writer, event_id, ce_time, key)
        if expires_at is not None:
            sent += ((headers.CE_EXPIRYTIME, headers.time_text(expires_at)),)
        return EncodedEvent(writer.topic.name, key, value, sent, event.event_id, event.tenant_id)

    def check(self, kind: type[Event]) -> None:
        """Raise UnknownEventError or SchemaMissingError unless events of a class can be encoded."""
        self._writer(kind)

    def decode(self, topic: str, value: bytes | None) -> Event:
        """The event in a record of a catalogue topic. Raises DecodeError, and nothing else.

        At the first record of a schema, with a registry over HTTP, also RegistryUnavailableError; SchemaNotFetchedError
        of a codec that may not wait. Then nothing is known of the record: ask again.
        """
        prefix = b"" if value is None else value[:PREFIX_LENGTH]
        reader = self._readers.get((topic, prefix))
        if reader is None or value is None:
            if len(prefix) < PREFIX_LENGTH or prefix[:1] != MAGIC or value is None:
                message = "the value is not in Confluent's wire format (a zero byte and a schema id come first)"
                raise DecodeError("decode", message)
            reader = self._reader(topic, prefix)
        try:
            fields = reader.fields(value)
        except SchemaResolutionError as error:
            message = f"the schema of the value cannot be read as the one of {topic}: {error}"
            raise DecodeError("validation", message) from error
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

    def prepare(self, kind: type[Event]) -> None:
        """Learn what encoding a class's events needs. Raises as `encode`."""
        self._writer(kind)

    def _writer(self, kind: type[Event]) -> "_Writer":
        known = self._writers.get(kind)
        if known is not None:
            return known
        topic = self._catalogue.of(kind)
        subject, names = self._catalogue.subject(topic.name), frozenset(kind.model_fields)
        registered = self._registry.own(subject, names)
        if registered is None:
            step = "export" if self._files.own(subject, names) is None else "register"
            message = f"{kind.__name__}, as it is, has no schema in the registry: run `streams schemas {step}`"
            raise SchemaMissingError(message)
        prefix = MAGIC + registered.id.to_bytes(4, "big")
        write, scalars = compile_writer(registered.schema)
        # Scalars are in the event as they are in its dump, which takes a tenth of the time that encoding has.
        fields = _as_they_are if scalars and not has_serializer(kind.__pydantic_core_schema__) else Event.model_dump
        made = self._writers[kind] = _Writer(topic, prefix, fields, write, (headers.CE_TYPE, topic.name.encode()))
        return made

    def _reader(self, topic: str, prefix: bytes) -> _Reader:
        schema_id = int.from_bytes(prefix[1:], "big")
        registered = self._registry.by_id(schema_id)
        if registered is None:
            message = f"the registry has no schema {schema_id}"
            raise DecodeError("unknown-schema", message)
        event, subject = self._catalogue.topic(topic).event, self._catalogue.subject(topic)
        if not _is_of(registered, subject, event):
            whose = registered.subject or registered.schema.get("name") or "no record"
            message = f"schema {schema_id} is one of {whose}, this topic's are of {subject}"
            raise DecodeError("validation", message)
        own = self._files.own(subject, frozenset(event.model_fields))
        try:
            # A registry may write the same schema in another way.
            evolved = own is not None and _canonical(own.schema) != _canonical(registered.schema)
            fields = field_reader(registered.schema, own.schema if own is not None and evolved else None)
        except Exception as error:  # whoever has registered it, fastavro raises many kinds for what is no schema
            message = f"schema {schema_id} is not one of Avro: {type(error).__name__}: {error}"
            raise DecodeError("validation", message) from error

        # `model_validate` adds a tenth to the time that it takes for its other arguments.
        made = self._readers[topic, prefix] = _Reader(fields, event.__pydantic_validator__.validate_python)
        return made

    def _event_headers(self, writer: "_Writer", event_id: str, ce_time: str, key: bytes) -> Headers:
        return (
            SPECVERSION,
            (headers.CE_ID, event_id.encode()),
            writer.ce_type,
            self._source,
            (headers.CE_TIME, ce_time.encode()),
            (headers.CE_SUBJECT, key),
            CONTENT_TYPE,
            (headers.TRACEPARENT, child_traceparent()),
        )


def _canonical(schema: Schema) -> str:
    """Avro's canonical form: equal where records are the same bytes."""
    return fastavro.schema.to_parsing_canonical_form(fastavro.parse_schema(schema))


def _is_of(registered: RegisteredSchema, subject: str, event: type[Event]) -> bool:
    """Whether it is a schema of the topic: by its subject, or where that is not told by the name of its record."""
    if registered.subject:
        return registered.subject == subject
    return str(registered.schema.get("name")).rpartition(".")[2] == event.__name__


def own_folder(settings: Settings) -> Path:
    """The folder of the schemas that this code's classes stand for. Raises RegistryError for a URL of another kind."""
    if settings.has_http_registry:
        return settings.schema_files or COMMITTED
    return registry_folder(settings.schema_registry_url)


def _as_they_are(event: Event) -> dict[str, object]:
    return event.__dict__.copy()


def has_serializer(core_schema: object) -> bool:
    """Whether anything in Pydantic's schema of a class changes a value when it is dumped."""
    if isinstance(core_schema, dict):
        return "serialization" in core_schema or any(map(has_serializer, core_schema.values()))
    return isinstance(core_schema, list | tuple) and any(map(has_serializer, core_schema))


def _uuid_text(event_id: UUID) -> str:
    """As `str` says it, in half of its time."""
    digits = f"{event_id.int:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def utc_text(micros: int) -> str:
    """Microseconds since the epoch as `datetime.isoformat` says them in UTC, in a third of its time."""
    second, rest = divmod(micros, 1_000_000)
    return f"{_second(second)}.{rest:06d}+00:00" if rest else f"{_second(second)}+00:00"


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()


@lru_cache(maxsize=8)
def _open_files(folder: Path) -> FileRegistry:
    return FileRegistry(folder)


def open_http_registry(settings: Settings) -> HttpRegistry:
    """The registry over HTTP of STREAMS_SCHEMA_REGISTRY_URL. Makes no connection. Raises RegistryError."""
    if not settings.has_http_registry:
        message = f"STREAMS_SCHEMA_REGISTRY_URL={settings.schema_registry_url} is no registry over HTTP"
        raise RegistryError(message)
    return HttpRegistry(settings, _open_files(own_folder(settings)))


def build_codec(settings: Settings, catalogue: Catalogue, *, waits: bool = True) -> Codec:
    """The codec of one process. Raises RegistryError.

    `waits`: whether it asks a registry over HTTP itself, which blocks; an event loop's codec must not.
    """
    files = _open_files(own_folder(settings))
    registry: Registry = files
    if settings.has_http_registry:
        remote = open_http_registry(settings)
        registry = remote if waits else _WithoutWaiting(remote)
    return Codec(registry, files, catalogue, source=settings.application)


@lru_cache(maxsize=1)
def default_codec() -> Codec:
    """The codec of this process's environment."""
    settings = load_settings()
    return build_codec(settings, load_catalogue(settings))
