"""From records to deliveries: decode, check the event id, find the handlers. What cannot be read dies here."""

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
from streams.delivery.delivery import INT4, Delivery, Pending, due_at_of, now_ms, number, origin_of
from streams.delivery.errors import Reason
from streams.delivery.handler import Handler
from streams.delivery.intake.payload_loader import Loaded, Payload, Payloads
from streams.observability.error_text import ErrorText, describe
from streams.settings import PoolName
from streams.topics import Catalogue, Topic, UnknownEventError
from streams.transport.kafka.records import Chunk, Record

FUTURE_LIMIT = timedelta(days=1)
"""How far ahead of the clock an event id may be: the ledger's partitions are attached that far and farther."""
UNKNOWN_HANDLER_LIFE_MS = 24 * 3600 * 1000
"""A record for a handler that this version does not know waits so long for a version that does."""
UNKNOWN_HANDLER_PAUSE_MS = 60 * 1000
# RFC 9562, figure 11: 48 bits of milliseconds, then four of the version, are the highest of the 128.
_TIME_BITS, _VERSION_BITS, _UUID_VERSION = 80, 76, 7


@dataclass(frozen=True, slots=True)
class Rerouted:
    """A waiting record that belongs into another tier: its handler has moved pool, or is not known yet."""

    record: Record
    tier: str
    due_at: int
    unknown_since: int | None = None
    rest: float = 0.0
    """Seconds that it has to wait here before it goes on."""


@dataclass(frozen=True, slots=True)
class MissingPayload:
    """A tier's record whose event is not here: its ticket, or what came of that."""

    why: "Ticket | Literal['done', 'away']"
    handler: Handler[Event]


@dataclass(slots=True)
class ReadChunk:
    """What the records of a chunk of an event topic are, in their order."""

    deliveries: list[Delivery] = field(default_factory=list)
    unreadable: list[UnreadableRecord] = field(default_factory=list)
    elsewhere: dict[int, Ticket] = field(default_factory=dict)
    """By offset: what has to be got from the storage first; then the chunk is read again, with it."""
    away: list[Record] = field(default_factory=list)
    """Records whose payload cannot be had now."""

    def put_apart(
        self, chunk: Chunk, record: Record, read: "UnreadableRecord | Ticket | Literal['done', 'away']"
    ) -> None:
        """Note a record with a ticket that has no event now."""
        if isinstance(read, UnreadableRecord):
            self.unreadable.append(read)
        elif isinstance(read, Ticket):
            self.elsewhere[record.offset] = read
        elif read == "away":
            self.away.append(record)
        else:
            chunk.settle(record.offset)


ReadRecord: TypeAlias = "Delivery | UnreadableRecord | Rerouted | MissingPayload"
"""What a record of a retry tier is."""


class Decoder:
    """Makes deliveries of one pool's records. It has no effect that a second reading of a record would repeat.

    Raises SchemaNotFetchedError, like its codec, where the schema registry has to be asked first.
    """

    def __init__(  # noqa: PLR0913 - what deliveries are made of
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
        """Take what reading needs.

        Args:
            codec: Makes events of bytes.
            catalogue: The topics.
            handlers: Those of every pool by name: a retry record may name one that has moved.
            by_topic: The handlers of each topic.
            pool: The pool that reads.
            window: Days of the ledger: the id of an event must not be older.
            clock: ms since the epoch.
        """
        self._codec = codec
        self._catalogue = catalogue
        self._handlers = handlers
        self._by_topic = by_topic
        self._pool = pool
        self._days = window
        self._clock = clock

    def handlers_of(self, topic: str) -> tuple[Handler[Event], ...]:
        """The handlers of a topic, which may have none."""
        return self._by_topic.get(topic, ())

    def decode_chunk(self, chunk: Chunk, payloads: Payloads) -> ReadChunk:
        """The deliveries of a chunk of an event topic: one for each record and handler, in the order of the records.

        Those of a record share its offset. `payloads`: what was loaded for the chunk's tickets.
        """
        found = ReadChunk()
        topic = self._catalogue.topic(chunk.topic)
        handlers = self._by_topic.get(topic.name, ())
        window = self._window()
        decode, name = self._codec.decode, topic.name
        if topic.secret:
            self._seal_all(chunk)
        for record in chunk.records:
            # They mean something in a tier only; here they would give the event somebody else's origin.
            record.drop_headers(headers.STREAMS_PREFIX)
            try:
                event = decode(name, record.value)
            except PayloadElsewhereError as elsewhere:
                got = payloads.get(record.offset, elsewhere.ticket) if handlers else "done"
                read = self._from_payload(topic, record, got)
                if not isinstance(read, Event):
                    found.put_apart(chunk, record, read)
                    continue
                event = read
            except DecodeError as error:
                found.unreadable.append(UnreadableRecord(record, name, Reason(error.reason), describe(error)))
                continue
            if (why := window.refusal(event.event_id)) is not None:
                found.unreadable.append(_refused(record, topic, event, why))
                continue
            pending = Pending(chunk, record.offset, len(handlers))
            if payloads and isinstance(loaded := payloads.get(record.offset), Loaded):
                loaded.held.pending = pending
            for handler in handlers:
                found.deliveries.append(Delivery(event, handler, topic, record, pending))
        return found

    def decode_retry(self, chunk: Chunk, record: Record, payload: Payload | None) -> ReadRecord:
        """The one delivery of a record of a retry tier; its handler and origin are in its headers.

        `payload`: what was loaded for its ticket.
        """
        origin = origin_of(record)
        try:
            topic = self._catalogue.topic(origin.topic)
        except UnknownEventError as error:
            return UnreadableRecord(record, origin.topic, Reason.UNKNOWN_HANDLER, describe(error))
        name = headers.last_text(record.headers, headers.HANDLER)
        handler = self._handlers.get(name or "")
        if handler is None:
            return self._unknown(record, topic, name)
        if topic.pool != self._pool:
            return Rerouted(record, self._catalogue.tier(topic.pool, 0.0), due_at_of(record))
        event = self._read(topic, record, payload)
        if isinstance(event, UnreadableRecord):
            return replace(event, handler=handler.name)
        if not isinstance(event, Event):
            return MissingPayload(event, handler)
        pending = Pending(chunk, record.offset, 1)
        if isinstance(payload, Loaded):
            payload.held.pending = pending
        return Delivery(
            event,
            handler,
            topic,
            record,
            pending,
            seq=number(record, headers.SEQ, INT4 - 1) or 0,
            attempts=number(record, headers.ATTEMPT, INT4 - 1) or 0,
            replays=number(record, headers.REPLAYS, INT4) or 0,
            first_failed_at=number(record, headers.FIRST_FAILED_AT),
        )

    def _window(self) -> "IdWindow":
        return IdWindow.at(datetime.fromtimestamp(self._clock() / 1000, tz=UTC), self._days)

    def _seal_all(self, chunk: Chunk) -> None:
        """Seal the values of a topic with secrets, where there is a key: whatever copies the record from here on."""
        for record in chunk.records:
            if record.value is not None:
                record.value = self._codec.encryptor.encrypt(record.value)

    def _from_payload(
        self, topic: Topic, record: Record, got: Payload | Ticket
    ) -> "Event | UnreadableRecord | Ticket | Literal['done', 'away']":
        """The event of a record with a ticket, or what came of it instead; a ticket: it has to be loaded first."""
        if isinstance(got, Loaded):
            try:
                return self._codec.decode(topic.name, got.value)
            except DecodeError as error:
                got = error
        if isinstance(got, DecodeError):
            return UnreadableRecord(record, topic.name, Reason(got.reason), describe(got))
        return got

    def _read(
        self, topic: Topic, record: Record, payload: Payload | None = None
    ) -> "Event | UnreadableRecord | Ticket | Literal['done', 'away']":
        try:
            event = self._codec.decode(topic.name, record.value)
        except PayloadElsewhereError as elsewhere:
            read = self._from_payload(topic, record, payload or elsewhere.ticket)
            if isinstance(read, UnreadableRecord):  # its id is known, so it stays its handler's own
                return replace(read, event_id=elsewhere.ticket.event_id)
            if not isinstance(read, Event):
                return read
            event = read
        except DecodeError as error:
            return UnreadableRecord(record, topic.name, Reason(error.reason), describe(error))
        why = self._window().refusal(event.event_id)
        return event if why is None else _refused(record, topic, event, why)

    def _unknown(self, record: Record, topic: Topic, name: str | None) -> UnreadableRecord | Rerouted:
        """A rolling deploy may bring the handler: wait a day before the record dies."""
        now = self._clock()
        since = headers.last_int(record.headers, headers.UNKNOWN_SINCE) or now
        if name is None or now - since > UNKNOWN_HANDLER_LIFE_MS:
            event = self._read(topic, record)
            if isinstance(event, UnreadableRecord):
                return event
            if not isinstance(event, Event):  # its payload is in the storage; that it has no handler is known
                error = ErrorText(Reason.UNKNOWN_HANDLER.name, f"no handler {name!r} in this version", "")
                return UnreadableRecord(record, topic.name, Reason.UNKNOWN_HANDLER, error, handler=name)
            message = f"no handler {name!r} in this version"
            return _refused(record, topic, event, (Reason.UNKNOWN_HANDLER, message), handler=name)
        # One that has been sent round before waits here for its time: at once, it would go round as fast as Kafka can.
        rest = min(max(0, due_at_of(record) - now), UNKNOWN_HANDLER_PAUSE_MS)
        due_at = now + rest + UNKNOWN_HANDLER_PAUSE_MS
        return Rerouted(record, self._catalogue.tier(self._pool, 0.0), due_at, since, rest / 1000)


@dataclass(frozen=True, slots=True)
class IdWindow:
    """The times (ms since the epoch) that an event id may carry: within the ledger's days, and not far ahead."""

    oldest: int
    newest: int
    days: int

    @classmethod
    def at(cls, now: datetime, retention_days: int) -> "IdWindow":
        """The window at a time: whole UTC days back, since the ledger keeps days."""
        first_day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=retention_days)
        return cls(milliseconds(first_day), milliseconds(now + FUTURE_LIMIT), retention_days)

    def refusal(self, event_id: UUID) -> tuple[Reason, str] | None:
        """Why the ledger can have no row of this id; None: it can."""
        number = event_id.int
        made_at = number >> _TIME_BITS
        if number >> _VERSION_BITS & 0xF != _UUID_VERSION or made_at > self.newest:
            return Reason.BAD_EVENT_ID, "the event id is no UUIDv7 of a time until now"
        if made_at < self.oldest:
            return Reason.EXPIRED, f"the event is older than the ledger's {self.days} days"
        return None


def milliseconds(moment: datetime) -> int:
    """A time as ms since the epoch."""
    return round(moment.timestamp() * 1000)


def _refused(
    record: Record, topic: Topic, event: Event, why: tuple[Reason, str], *, handler: str | None = None
) -> UnreadableRecord:
    reason, message = why
    error = ErrorText(type_name=reason.name, message=message, stack="")
    return UnreadableRecord(record, topic.name, reason, error, event.event_id, event.tenant_id, handler)
