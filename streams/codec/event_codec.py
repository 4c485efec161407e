"""Bytes ⇄ event: Confluent wire format (a zero byte, four bytes of schema id, Avro)."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Literal
from uuid import UUID

import fastavro
from fastavro.read import SchemaResolutionError
from fastavro.types import Schema
from pydantic import ValidationError

from schemas import Event
from schemas.registry import FileRegistry, RegisteredSchema
from schemas.sensitivity import holds_secret, marks_of
from streams import headers
from streams.codec.avro_reader import PREFIX_LENGTH, FieldReader, field_reader
from streams.codec.avro_writer import Writer, compile_writer
from streams.codec.claim_check import CONTENT_TYPE as TICKET_TYPE
from streams.codec.claim_check import TICKET, ClaimCheck, Ticket, TicketError, open_claim_check
from streams.codec.encryption import SEAL, Encryptor, SealedError, open_seals
from streams.codec.event_fields import EventFields, fields_of, with_texts
from streams.codec.writer_schema import MAGIC, WriterSchemas
from streams.headers import Headers
from streams.observability.redaction import Redactor
from streams.observability.tracing import child_traceparent
from streams.schema_registry.clients import Registry, open_files, open_registry, own_folder
from streams.settings import Settings, load_settings
from streams.topics import Catalogue, Topic, UnknownEventError, load_catalogue

SPECVERSION = (headers.CE_SPECVERSION, b"1.0")
CONTENT_TYPE = (headers.CONTENT_TYPE, b"application/avro")
DecodeReason = Literal["decode", "validation", "unknown-schema"]


class DecodeError(Exception):
    """Bytes that are no event of their topic; `reason` is the dead letter's."""

    __module__ = "streams.codec"

    def __init__(self, reason: DecodeReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PayloadElsewhereError(DecodeError):
    """The record has a ticket: its value is in the storage, and whoever may wait for it has to get it."""

    __module__ = "streams.codec"

    def __init__(self, ticket: Ticket) -> None:
        super().__init__("decode", f"the value is in the storage, {ticket.key}")
        self.ticket = ticket


class SchemaMissingError(Exception):
    """An event's schema is not in the registry; the message says how to put it there."""

    __module__ = "streams.codec"


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
    fields: EventFields
    write: Writer
    ce_type: tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class _Reader:
    """How the records of one topic and schema id become events."""

    fields: FieldReader
    event: Callable[[object], Event]


class Codec:
    """Encodes events for their topics and decodes records of a topic; schemas are parsed once."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a codec stands on
        self,
        registry: Registry,
        files: FileRegistry,
        catalogue: Catalogue,
        source: str,
        seals: Encryptor | None = None,
        claims: ClaimCheck | None = None,
    ) -> None:
        """`registry` gives ids, `files` say what the classes of this code stand for.

        `source` becomes `ce_source`: who publishes, such as the application's name. `seals`: None opens nothing.
        `claims`: None leaves large values to Kafka, which refuses them.
        """
        self.seals = seals or Encryptor()
        self.claims = claims
        self.written = WriterSchemas(registry, catalogue)
        self._limit = sys.maxsize if claims is None else claims.limit
        self._registry = registry
        self._files = files
        self._catalogue = catalogue
        self._source = (headers.CE_SOURCE, source.encode())
        self._writers: dict[type[Event], _Writer] = {}
        self._readers: dict[tuple[str, bytes], _Reader] = {}

    def encode(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """The record of an event; a large value is put into the storage, which blocks, and a ticket is the record's.

        Raises as `encode_whole`, StorageAwayError, and ValueError where the event is too large or may not be stored.
        """
        encoded = self.encode_whole(event, expires_at)
        return encoded if len(encoded.value) <= self._limit else self.put_away(event, encoded)

    def is_large(self, encoded: EncodedEvent) -> bool:
        """Whether the value has to be put away."""
        return len(encoded.value) > self._limit

    def put_away(self, event: Event, encoded: EncodedEvent) -> EncodedEvent:
        """The record with a ticket for its value, which is in the storage when this returns. Raises as `encode`."""
        if self.claims is None:
            return encoded
        if holds_secret(marks_of(type(event))):
            size, limit = len(encoded.value), self._limit
            message = f"{encoded.topic}: {size} bytes with a secret; over {limit} they would lie in the file storage"
            raise ValueError(message)
        ticket = self.claims.put(encoded.event_id, encoded.value)
        told = tuple((name, TICKET_TYPE if name == headers.CONTENT_TYPE else value) for name, value in encoded.headers)
        return replace(encoded, value=ticket.value, headers=told)

    def encode_whole(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """The record of an event, its value whole whatever its size; no attempt begins with it from `expires_at` on.

        Raises UnknownEventError, SchemaMissingError; ValueError where Avro refuses it, where `expires_at` has no
        offset, and where the topic's events never expire.

        At the first event of a class, with a registry over HTTP, also RegistryUnavailableError; SchemaNotFetchedError
        of a codec that may not wait.
        """
        writer = self._writers.get(type(event)) or self._writer(type(event))
        if expires_at is not None and not writer.topic.expires:
            message = f"{writer.topic.name}: its events never expire, so none can be given an expires_at"
            raise ValueError(message)
        try:
            fields = writer.fields(event)
            event_id, ce_time = with_texts(event, fields)
            value = writer.prefix + writer.write(fields)
        except Exception as error:
            if marks_of(type(event)) is not None:  # the error and what caused it repeat the value
                raise _refusal(writer.topic, Redactor.of_events([event])(str(error))) from None
            if isinstance(error, TypeError | OverflowError):
                raise _refusal(writer.topic, str(error)) from error
            raise
        key = str(getattr(event, writer.topic.key)).encode()
        sent: Headers = (
            SPECVERSION,
            (headers.CE_ID, event_id),
            writer.ce_type,
            self._source,
            (headers.CE_TIME, ce_time),
            (headers.CE_SUBJECT, key),
            CONTENT_TYPE,
            (headers.TRACEPARENT, child_traceparent()),
        )
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
            if value is not None and prefix[:1] == SEAL:
                return self.decode(topic, self._opened(value))
            if value is not None and prefix[:1] == TICKET:
                raise _elsewhere(value)
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
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            marks = self.written.marks(topic, value)
            if marks is not None:  # a validator of the class's own may repeat what it refuses
                message = f"field {place}: {Redactor.of_fields(fields, marks)(first['msg'])}"
                raise DecodeError("validation", message) from None
            message = f"field {place}: {first['msg']}"
            raise DecodeError("validation", message) from error

    def _opened(self, value: bytes) -> bytes:
        try:
            return self.seals.open(value)
        except SealedError as error:
            raise DecodeError("decode", str(error)) from error

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
        fields = fields_of(kind, scalars=scalars)
        made = self._writers[kind] = _Writer(topic, prefix, fields, write, (headers.CE_TYPE, topic.name.encode()))
        return made

    def _reader(self, topic: str, prefix: bytes) -> _Reader:
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


def _canonical(schema: Schema) -> str:
    """Avro's canonical form: equal where records are the same bytes."""
    return fastavro.schema.to_parsing_canonical_form(fastavro.parse_schema(schema))


def _is_of(registered: RegisteredSchema, subject: str, event: type[Event]) -> bool:
    """Whether it is a schema of the topic: by its subject, or where that is not told by the name of its record."""
    if registered.subject:
        return registered.subject == subject
    return str(registered.schema.get("name")).rpartition(".")[2] == event.__name__


def _elsewhere(value: bytes) -> DecodeError:
    try:
        return PayloadElsewhereError(Ticket.read(value))
    except TicketError as error:
        return DecodeError("decode", str(error))


def _refusal(topic: Topic, why: str) -> ValueError:
    return ValueError(f"{topic.name}: Avro refuses the event: {why}")


def build_codec(settings: Settings, catalogue: Catalogue, *, waits: bool = True) -> Codec:
    """The codec of one process. Raises RegistryError.

    `waits`: whether it asks a registry over HTTP itself, which blocks; an event loop's codec must not.
    """
    return Codec(
        open_registry(settings, waits=waits),
        open_files(own_folder(settings)),
        catalogue,
        source=settings.application,
        seals=open_seals(settings),
        claims=open_claim_check(settings),
    )


@lru_cache(maxsize=1)
def default_codec() -> Codec:
    """The codec of this process's environment."""
    settings = load_settings()
    return build_codec(settings, load_catalogue(settings))
