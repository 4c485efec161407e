"""Encodes and decodes events in Confluent's wire format: a zero byte, four bytes of schema id, Avro."""

import sys
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from fastavro.read import SchemaResolutionError
from pydantic import ValidationError

from schemas import Event
from schemas.registry import FileRegistry
from schemas.sensitivity import has_secret, marks_of
from streams import headers
from streams.codec.avro_reader import PREFIX_LENGTH
from streams.codec.claim_check import CONTENT_TYPE as TICKET_TYPE
from streams.codec.claim_check import TICKET_MAGIC, ClaimCheck, Ticket, TicketError, open_claim_check
from streams.codec.encryption import ENCRYPTED_MAGIC, Encryptor, SealedError, open_encryptor
from streams.codec.errors import DecodeError, PayloadElsewhereError
from streams.codec.event_fields import set_id_and_time
from streams.codec.schema_resolver import EventReader, EventWriter, SchemaResolver
from streams.codec.writer_schema import MAGIC, WriterSchemas
from streams.headers import Headers
from streams.observability.redaction import Redactor
from streams.observability.tracing import Span, child_traceparent, start_send
from streams.observability.tracing.tracer import PROCESS
from streams.schema_registry.clients import Registry, open_files, open_registry, schema_folder
from streams.settings import Settings, load_settings
from streams.topics import Catalogue, Topic, load_catalogue

SPECVERSION = (headers.CE_SPECVERSION, b"1.0")
CONTENT_TYPE = (headers.CONTENT_TYPE, b"application/avro")


@dataclass(slots=True)
class EncodedEvent:
    """A record to produce or to add to the outbox. Not frozen, since creating it would take three times as long."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    event_id: UUID
    tenant_id: str | None
    span: Span | None = None
    """The span of its publication, which the sender ends. None: it is not traced."""


class Codec:
    """Encodes events for their topics and decodes the records of a topic. Each schema is parsed once."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a codec
        self,
        registry: Registry,
        files: FileRegistry,
        catalogue: Catalogue,
        source: str,
        encryptor: Encryptor | None = None,
        claims: ClaimCheck | None = None,
    ) -> None:
        """Create a codec.

        Args:
            registry: Assigns the ids of schemas.
            files: The schemas of this version's event classes.
            catalogue: The topics and their events.
            source: The header `ce_source`: who publishes, such as the application's name.
            encryptor: Decrypts encrypted values. None: they cannot be decoded.
            claims: Stores large values. None: they stay in the records, and Kafka rejects them.
        """
        self.encryptor = encryptor or Encryptor()
        self.claims = claims
        self.writer_schemas = WriterSchemas(registry, catalogue)
        self._limit = sys.maxsize if claims is None else claims.limit
        self._resolver = SchemaResolver(registry, files, catalogue)
        self._source = (headers.CE_SOURCE, source.encode())
        self._writers: dict[type[Event], EventWriter] = {}
        self._readers: dict[tuple[str, bytes], EventReader] = {}

    def encode(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """Return the record of an event. A large value is stored, which blocks, and replaced by a ticket.

        Raises:
            StorageAwayError: The storage does not work.
            ValueError: The event is too large or must not be stored.
            Exception: Any error of `encode_inline`.
        """
        encoded = self.encode_inline(event, expires_at)
        return encoded if len(encoded.value) <= self._limit else self.store_value(event, encoded)

    def is_large(self, encoded: EncodedEvent) -> bool:
        """Return True if the value has to be stored outside Kafka."""
        return len(encoded.value) > self._limit

    def store_value(self, event: Event, encoded: EncodedEvent) -> EncodedEvent:
        """Write a record's value to the storage. Returns the record with a ticket. Raises the same as `encode`."""
        if self.claims is None:
            return encoded
        if has_secret(marks_of(type(event))):
            size, limit = len(encoded.value), self._limit
            message = f"{encoded.topic}: {size} bytes with a secret field; above {limit} it would be in the storage"
            raise ValueError(message)
        ticket = self.claims.put(encoded.event_id, encoded.value)
        changed = tuple((name, TICKET_TYPE if name == headers.CONTENT_TYPE else old) for name, old in encoded.headers)
        return replace(encoded, value=ticket.value, headers=changed)

    def encode_inline(self, event: Event, expires_at: datetime | None = None) -> EncodedEvent:
        """Return the record of an event with its complete value, whatever its size.

        Args:
            event: The event to encode.
            expires_at: No attempt to handle the event starts at or after this time.

        Raises:
            UnknownEventError: The event's class is not in the catalogue.
            SchemaMissingError: The class has no registered schema.
            ValueError: Avro rejects a value, `expires_at` has no UTC offset, or the topic's events never expire.
            RegistryUnavailableError: The registry over HTTP does not answer, at the first event of a class.
            SchemaNotFetchedError: The codec must not block for the registry, at the first event of a class.
        """
        writer = self._writers.get(type(event)) or self._add_writer(type(event))
        if expires_at is not None and not writer.topic.expires:
            message = f"{writer.topic.name}: its events never expire, so they cannot have an expires_at"
            raise ValueError(message)
        try:
            fields = writer.fields(event)
            event_id, ce_time = set_id_and_time(event, fields)
            value = writer.prefix + writer.write(fields)
        except Exception as error:
            if marks_of(type(event)) is not None:  # the error and its cause contain the value
                raise _rejection(writer.topic, Redactor.of_events([event])(str(error))) from None
            if isinstance(error, TypeError | OverflowError):
                raise _rejection(writer.topic, str(error)) from error
            raise
        key = str(getattr(event, writer.topic.key)).encode()
        span = None if PROCESS.is_off else start_send(writer.topic.name, event_id)
        sent: Headers = (
            SPECVERSION,
            (headers.CE_ID, event_id),
            writer.ce_type,
            self._source,
            (headers.CE_TIME, ce_time),
            (headers.CE_SUBJECT, key),
            CONTENT_TYPE,
            (headers.TRACEPARENT, child_traceparent() if span is None else span.traceparent),
        )
        if expires_at is not None:
            sent += ((headers.CE_EXPIRYTIME, headers.time_text(expires_at)),)
        return EncodedEvent(writer.topic.name, key, value, sent, event.event_id, event.tenant_id, span)

    def check(self, kind: type[Event]) -> None:
        """Raise UnknownEventError or SchemaMissingError if events of a class cannot be encoded."""
        self._add_writer(kind)

    def decode(self, topic: str, value: bytes | None) -> Event:
        """Return the event of a record of a catalogue topic.

        Raises:
            DecodeError: The value is not an event of the topic.
            RegistryUnavailableError: The registry over HTTP does not answer, at the first record of a schema.
            SchemaNotFetchedError: The codec must not block for the registry, at the first record of a schema. Decode
                the record again later.
        """
        prefix = b"" if value is None else value[:PREFIX_LENGTH]
        reader = self._readers.get((topic, prefix))
        if reader is None or value is None:
            if value is not None and prefix[:1] == ENCRYPTED_MAGIC:
                return self.decode(topic, self._decrypted(value))
            if value is not None and prefix[:1] == TICKET_MAGIC:
                raise self._payload_error(value)
            if len(prefix) < PREFIX_LENGTH or prefix[:1] != MAGIC or value is None:
                message = "the value is not in Confluent's wire format: a zero byte and a schema id, then Avro"
                raise DecodeError("decode", message)
            reader = self._readers[topic, prefix] = self._resolver.reader(topic, prefix)
        try:
            fields = reader.fields(value)
        except SchemaResolutionError as error:
            message = f"the schema of the value is not compatible with the one of {topic}: {error}"
            raise DecodeError("validation", message) from error
        except Exception as error:  # fastavro raises many kinds for foreign bytes; all mean the same here
            message = f"the value does not match its Avro schema: {type(error).__name__}: {error}"
            raise DecodeError("decode", message) from error
        try:
            return reader.event(fields)
        except Exception as error:  # a validator of the class may raise any kind; pydantic wraps only some
            message = _rejected_field(error)
            marks = self.writer_schemas.marks(topic, value)
            if marks is not None:  # a custom validator may repeat the value that it rejects
                raise DecodeError("validation", Redactor.of_fields(fields, marks)(message)) from None
            raise DecodeError("validation", message) from error

    def _payload_error(self, value: bytes) -> DecodeError:
        try:
            ticket = Ticket.read(value)
            if self.claims is not None:
                self.claims.check_size(ticket)
        except TicketError as error:
            return DecodeError("decode", str(error))
        return PayloadElsewhereError(ticket)

    def _decrypted(self, value: bytes) -> bytes:
        try:
            return self.encryptor.decrypt(value)
        except SealedError as error:
            raise DecodeError("decode", str(error)) from error

    def prepare(self, kind: type[Event]) -> None:
        """Load the schema that encoding a class's events needs. Raises the same as `encode`."""
        self._add_writer(kind)

    def _add_writer(self, kind: type[Event]) -> EventWriter:
        if kind not in self._writers:
            self._writers[kind] = self._resolver.writer(kind)
        return self._writers[kind]


def _rejected_field(error: Exception) -> str:
    """Return why an event's class rejects the fields: the first field, or what a validator raised."""
    if not isinstance(error, ValidationError):
        return f"a validator raised {type(error).__name__}: {error}"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"field {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _rejection(topic: Topic, reason: str) -> ValueError:
    return ValueError(f"{topic.name}: Avro rejects the event: {reason}")


def build_codec(settings: Settings, catalogue: Catalogue, *, blocking: bool = True) -> Codec:
    """Return the codec of one process.

    Args:
        settings: The registry, the encryption keys and the claim check.
        catalogue: The topics and their events.
        blocking: Whether the codec may block for a registry over HTTP. False on an event loop.

    Raises:
        RegistryError: The registry cannot be opened.
    """
    return Codec(
        open_registry(settings, blocking=blocking),
        open_files(schema_folder(settings)),
        catalogue,
        source=settings.application,
        encryptor=open_encryptor(settings),
        claims=open_claim_check(settings),
    )


@lru_cache(maxsize=1)
def default_codec() -> Codec:
    """Return the codec of this process's environment."""
    settings = load_settings()
    return build_codec(settings, load_catalogue(settings))
