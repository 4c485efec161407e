"""Decodes records into deliveries: event, event id, handlers. Finds the records that must be dead-lettered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

from schemas import Event
from streams import headers
from streams.codec import Codec, DecodeError, PayloadElsewhereError
from streams.codec.claim_check import Ticket
from streams.delivery.dead_letter import UnreadableRecord
from streams.delivery.delivery import INT4, Delivery, PendingRecord, due_at_of, header_number, now_ms, origin_of
from streams.delivery.errors import Reason
from streams.delivery.handler import Handler
from streams.delivery.intake.payload_loader import Loaded, Payload, Payloads
from streams.observability.error_text import ErrorText, describe
from streams.settings import PoolName
from streams.topics import Catalogue, Topic, UnknownEventError
from streams.transport.kafka.records import Chunk, Record

FUTURE_LIMIT = timedelta(days=1)
"""How far the time of an event id may be in the future. The ledger has partitions for at least that long."""
UNKNOWN_HANDLER_MAX_AGE_MS = 24 * 3600 * 1000
"""How long a record of an unknown handler waits for a version that has the handler."""
UNKNOWN_HANDLER_PAUSE_MS = 60 * 1000
# RFC 9562, figure 11: 48 bits of milliseconds, then four of the version, are the highest of the 128.
_TIME_BITS, _VERSION_BITS, _UUID_VERSION = 80, 76, 7


@dataclass(frozen=True, slots=True)
class Rerouted:
    """A retry record for another tier: its topic has moved to another pool, or its handler is not known yet."""

    record: Record
    tier: str
    due_at: int
    unknown_since: int | None = None
    wait: float = 0.0
    """Seconds to wait before it is forwarded."""


@dataclass(frozen=True, slots=True)
class MissingPayload:
    """A retry record without its event: its ticket, or the result of loading the payload."""

    why: "Ticket | Literal['done', 'unavailable']"
    handler: Handler[Event]


@dataclass(slots=True)
class DecodedChunk:
    """The decoded records of a chunk of an event topic, in their order."""

    deliveries: list[Delivery] = field(default_factory=list)
    unreadable: list[UnreadableRecord] = field(default_factory=list)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    """By offset: payloads that must be loaded from the storage. Then the chunk is decoded again with them."""
    unavailable: list[Record] = field(default_factory=list)
    """Records whose payload cannot be loaded now."""

    def add_without_event(
        self, chunk: Chunk, record: Record, read: "UnreadableRecord | Ticket | Literal['done', 'unavailable']"
    ) -> None:
        """Add a record with a ticket whose event is not available now."""
        if isinstance(read, UnreadableRecord):
            self.unreadable.append(read)
        elif isinstance(read, Ticket):
            self.tickets[record.offset] = read
        elif read == "unavailable":
            self.unavailable.append(record)
        else:
            chunk.settle(record.offset)


DecodedRecord: TypeAlias = "Delivery | UnreadableRecord | Rerouted | MissingPayload"
"""The result of decoding a record of a retry tier."""


class Decoder:
    """Decodes the records of one pool into deliveries. A record may be decoded again without another effect.

    Its methods raise SchemaNotFetchedError, like the codec, if a schema must be fetched from the registry first.
    """

    def __init__(  # noqa: PLR0913 - one argument per dependency
        self,
        codec: Codec,
        catalogue: Catalogue,
        handlers: Mapping[str, Handler[Event]],
        by_topic: Mapping[str, tuple[Handler[Event], ...]],
        *,
        pool: PoolName,
        window: int,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Create the decoder of one pool.

        Args:
            codec: Decodes events.
            catalogue: The topics.
            handlers: By name, the handlers of every pool: a retry record may name one that has moved.
            by_topic: The handlers of each topic.
            pool: The pool that consumes the records.
            window: Retention of the ledger in days: an event id must not be older.
            clock: Returns ms since the epoch.
        """
        self._codec = codec
        self._catalogue = catalogue
        self._handlers = handlers
        self._by_topic = by_topic
        self._pool = pool
        self._days = window
        self._clock = clock

    def handlers_of(self, topic: str) -> tuple[Handler[Event], ...]:
        """Return the handlers of a topic; empty if it has none."""
        return self._by_topic.get(topic, ())

    def decode_chunk(self, chunk: Chunk, payloads: Payloads) -> DecodedChunk:
        """Decode a chunk of an event topic: one delivery per record and handler, in the order of the records.

        The deliveries of one record share its offset. `payloads` are the loaded payloads of the chunk's tickets.
        """
        found = DecodedChunk()
        topic = self._catalogue.topic(chunk.topic)
        handlers = self._by_topic.get(topic.name, ())
        window = self._window()
        decode, name = self._codec.decode, topic.name
        if topic.secret:
            self._encrypt_all(chunk)
        for record in chunk.records:
            # These headers belong to retry tiers. On an event topic they would fake another origin.
            record.drop_headers(headers.STREAMS_PREFIX)
            try:
                event = decode(name, record.value)
            except PayloadElsewhereError as missing:
                payload = payloads.get(record.offset, missing.ticket) if handlers else "done"
                read = self._decode_payload(topic, record, payload)
                if not isinstance(read, Event):
                    found.add_without_event(chunk, record, read)
                    continue
                event = read
            except DecodeError as error:
                found.unreadable.append(UnreadableRecord(record, name, Reason(error.reason), describe(error)))
                continue
            if (why := window.rejection(event.event_id)) is not None:
                found.unreadable.append(_rejected(record, topic, event, why))
                continue
            pending = PendingRecord(chunk, record.offset, len(handlers))
            if payloads and isinstance(loaded := payloads.get(record.offset), Loaded):
                loaded.reservation.pending = pending
            for handler in handlers:
                found.deliveries.append(Delivery(event, handler, topic, record, pending))
        return found

    def decode_retry(self, chunk: Chunk, record: Record, payload: Payload | None) -> DecodedRecord:
        """Decode a record of a retry tier; its handler and origin are in its headers.

        Args:
            chunk: The chunk of the record.
            record: What is decoded.
            payload: What was loaded for its ticket; None: nothing yet.
        """
        origin = origin_of(record)
        try:
            topic = self._catalogue.topic(origin.topic)
        except UnknownEventError as error:
            return UnreadableRecord(record, origin.topic, Reason.UNKNOWN_HANDLER, describe(error))
        name = headers.last_text(record.headers, headers.HANDLER)
        handler = self._handlers.get(name or "")
        if handler is None:
            return self._unknown_handler(record, topic, name)
        if topic.pool != self._pool:
            return Rerouted(record, self._catalogue.tier(topic.pool, 0.0), due_at_of(record))
        event = self._decode_record(topic, record, payload)
        if isinstance(event, UnreadableRecord):
            return replace(event, handler=handler.name)
        if not isinstance(event, Event):
            return MissingPayload(event, handler)
        pending = PendingRecord(chunk, record.offset, 1)
        if isinstance(payload, Loaded):
            payload.reservation.pending = pending
        return Delivery(
            event,
            handler,
            topic,
            record,
            pending,
            seq=header_number(record, headers.SEQ, INT4 - 1) or 0,
            attempts=header_number(record, headers.ATTEMPT, INT4 - 1) or 0,
            replays=header_number(record, headers.REPLAYS, INT4) or 0,
            first_failed_at=header_number(record, headers.FIRST_FAILED_AT),
        )

    def _window(self) -> "IdWindow":
        return IdWindow.at(datetime.fromtimestamp(self._clock() / 1000, tz=UTC), self._days)

    def _encrypt_all(self, chunk: Chunk) -> None:
        """Encrypt the values of a topic with secret fields if there is a key, so that every copy is encrypted."""
        for record in chunk.records:
            if record.value is not None:
                record.value = self._codec.encryptor.encrypt(record.value)

    def _decode_payload(
        self, topic: Topic, record: Record, payload: Payload | Ticket
    ) -> "Event | UnreadableRecord | Ticket | Literal['done', 'unavailable']":
        """Return the event of a record with a ticket, or why there is none; a ticket must be loaded first."""
        if isinstance(payload, Loaded):
            try:
                return self._codec.decode(topic.name, payload.value)
            except DecodeError as error:
                payload = error
        if isinstance(payload, DecodeError):
            return UnreadableRecord(record, topic.name, Reason(payload.reason), describe(payload))
        return payload

    def _decode_record(
        self, topic: Topic, record: Record, payload: Payload | None = None
    ) -> "Event | UnreadableRecord | Ticket | Literal['done', 'unavailable']":
        try:
            event = self._codec.decode(topic.name, record.value)
        except PayloadElsewhereError as missing:
            read = self._decode_payload(topic, record, payload or missing.ticket)
            if isinstance(read, UnreadableRecord):  # the ticket has the event id, so the dead letter can name it
                return replace(read, event_id=missing.ticket.event_id)
            if not isinstance(read, Event):
                return read
            event = read
        except DecodeError as error:
            return UnreadableRecord(record, topic.name, Reason(error.reason), describe(error))
        why = self._window().rejection(event.event_id)
        return event if why is None else _rejected(record, topic, event, why)

    def _unknown_handler(self, record: Record, topic: Topic, name: str | None) -> UnreadableRecord | Rerouted:
        """Decide about a record of an unknown handler. A rolling deployment may add it, so the record waits a day."""
        now = self._clock()
        since = headers.last_int(record.headers, headers.UNKNOWN_SINCE) or now
        if name is None or now - since > UNKNOWN_HANDLER_MAX_AGE_MS:
            event = self._decode_record(topic, record)
            if isinstance(event, UnreadableRecord):
                return event
            if not isinstance(event, Event):  # its payload is in the storage, and is not needed for this dead letter
                error = ErrorText(Reason.UNKNOWN_HANDLER.name, f"no handler {name!r} in this version", "")
                return UnreadableRecord(record, topic.name, Reason.UNKNOWN_HANDLER, error, handler=name)
            message = f"no handler {name!r} in this version"
            return _rejected(record, topic, event, (Reason.UNKNOWN_HANDLER, message), handler=name)
        # A record that was forwarded before waits here until it is due. Otherwise it would circulate at full speed.
        wait = min(max(0, due_at_of(record) - now), UNKNOWN_HANDLER_PAUSE_MS)
        due_at = now + wait + UNKNOWN_HANDLER_PAUSE_MS
        return Rerouted(record, self._catalogue.tier(self._pool, 0.0), due_at, since, wait / 1000)


@dataclass(frozen=True, slots=True)
class IdWindow:
    """The accepted times of event ids, ms since the epoch: within the ledger's retention, not far in the future."""

    oldest: int
    newest: int
    days: int

    @classmethod
    def at(cls, now: datetime, retention_days: int) -> "IdWindow":
        """Return the window at a time. It starts at midnight UTC, since the ledger is partitioned by day."""
        first_day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=retention_days)
        return cls(milliseconds(first_day), milliseconds(now + FUTURE_LIMIT), retention_days)

    def rejection(self, event_id: UUID) -> tuple[Reason, str] | None:
        """Return why the ledger cannot have a row of this event id; None: it can."""
        number = event_id.int
        made_at = number >> _TIME_BITS
        if number >> _VERSION_BITS & 0xF != _UUID_VERSION or made_at > self.newest:
            return Reason.BAD_EVENT_ID, "the event id must be a UUIDv7 whose time is not in the future"
        if made_at < self.oldest:
            return Reason.EXPIRED, f"the event is older than the ledger's {self.days} days"
        return None


def milliseconds(moment: datetime) -> int:
    """Return a time in ms since the epoch."""
    return round(moment.timestamp() * 1000)


def _rejected(
    record: Record, topic: Topic, event: Event, why: tuple[Reason, str], *, handler: str | None = None
) -> UnreadableRecord:
    reason, message = why
    error = ErrorText(type_name=reason.name, message=message, stack="")
    return UnreadableRecord(record, topic.name, reason, error, event.event_id, event.tenant_id, handler)
