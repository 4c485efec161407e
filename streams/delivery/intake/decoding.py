"""Decodes records into deliveries: event, event id, handlers. Finds the records that must be dead-lettered."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from schemas import Event
from schemas.registry import RegistryUnavailableError
from schemas.sensitivity import marks_of
from streams import headers
from streams.codec import Codec, DecodeError, PayloadElsewhereError
from streams.codec.claim_check import Ticket
from streams.delivery.dead_letter import UnreadableRecord, described
from streams.delivery.delivery import INT4, Delivery, PendingRecord, due_at_of, header_number, now_ms, origin_of
from streams.delivery.errors import Reason
from streams.delivery.handler import Handler
from streams.delivery.intake.decoded import DecodedChunk, DecodedRecord, MissingPayload, Rerouted
from streams.delivery.intake.id_window import IdWindow
from streams.delivery.intake.payload_loader import Loaded, Payload, Payloads
from streams.delivery.scheduling.retry_tiers import RetryTiers
from streams.observability.error_text import ErrorText, type_name
from streams.observability.logs import get_logger
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.settings import PoolName
from streams.topics import Catalogue, Topic, UnknownEventError
from streams.transport.kafka.records import Chunk, Record

log = get_logger(__name__)
UNKNOWN_HANDLER_MAX_AGE_MS = 24 * 3600 * 1000
"""How long a record of an unknown handler waits for a version that has the handler."""
UNKNOWN_HANDLER_PAUSE_MS = 60 * 1000
POOL_MOVE_PAUSE_MS = 60 * 1000
"""How long a record rests that was moved to another pool, and whose topic is of the former pool for this worker."""
_WAITS = (SchemaNotFetchedError, RegistryUnavailableError)
"""Decoding raises these if the record is not the cause: it is decoded again later."""
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


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
        self._first_topic = catalogue.fallback(pool).name
        """Its DLQ gets the records of tiers that name no topic."""

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
        # The claim in the ledger and the expiry read the headers. Without these, they are parsed only if needed.
        needs_headers = topic.expires or any(handler.ledger for handler in handlers)
        if topic.secret:
            self._encrypt_all(chunk)
        for record in chunk.records:
            # These headers belong to retry tiers. On an event topic they would fake another origin.
            record.drop_headers(headers.STREAMS_PREFIX)
            try:
                if needs_headers:
                    _check_headers(record)
                event = decode(name, record.value)
            except _WAITS:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever reading a record raises is its dead letter
                loaded = self._event_elsewhere(chunk, record, topic, error, found, payloads)
                if loaded is None:
                    continue
                event = loaded
            if (why := window.rejection(event.event_id)) is not None:
                found.unreadable.append(_rejected(record, topic, event, why))
                continue
            pending = PendingRecord(chunk, record.offset, len(handlers))
            if payloads and isinstance(payload := payloads.get(record.offset), Loaded):
                payload.reservation.pending = pending
            for handler in handlers:
                found.deliveries.append(Delivery(event, handler, topic, record, pending))
        return found

    def _event_elsewhere(  # noqa: PLR0913, PLR0917 - the state of one record
        self,
        chunk: Chunk,
        record: Record,
        topic: Topic,
        error: BaseException,
        found: DecodedChunk,
        payloads: Payloads,
    ) -> Event | None:
        """Return the event of a record with a ticket. None: the record is added to `found` without an event."""
        if not isinstance(error, PayloadElsewhereError):
            found.unreadable.append(_unreadable(record, topic, error))
            return None
        payload = payloads.get(record.offset, error.ticket) if self._by_topic.get(topic.name) else "done"
        read = self._decode_payload(topic, record, payload)
        if isinstance(read, Event):
            return read
        found.add_without_event(chunk, record, read)
        return None

    def decode_retry(self, chunk: Chunk, record: Record, payload: Payload | None) -> DecodedRecord:
        """Decode a record of a retry tier; its handler and origin are in its headers.

        Args:
            chunk: The chunk of the record.
            record: What is decoded.
            payload: What was loaded for its ticket; None: nothing yet.
        """
        try:
            return self._decode_retry(chunk, record, payload)
        except _WAITS:
            raise
        except BaseException as error:
            log.exception("decoding a record of a retry tier failed", fault="record")
            text = ErrorText(type_name(error), "reading the record failed", "")
            return UnreadableRecord(record, self._first_topic, Reason.DECODE, text)

    def _decode_retry(self, chunk: Chunk, record: Record, payload: Payload | None) -> DecodedRecord:
        topic = self._topic_of_retry(record)
        if isinstance(topic, UnreadableRecord):
            return topic
        name = headers.last_text(record.headers, headers.HANDLER)
        handler = self._handlers.get(name or "")
        if handler is None or handler.event is not topic.event:
            return self._unknown_handler(record, topic, name)
        if topic.pool != self._pool:
            return self._other_pool(record, topic)
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

    def unread(self, record: Record) -> UnreadableRecord:
        """Return the dead letter of a record that crashed its process while it was decoded. Nothing of it is read."""
        error = ErrorText("ProcessKilled", "the worker process crashed each time it decoded this record", "")
        topic = record.topic if record.topic in self._by_topic else self._first_topic
        return UnreadableRecord(record, topic, Reason.CRASHED, error, bare=True)

    def _topic_of_retry(self, record: Record) -> Topic | UnreadableRecord:
        """Return the topic that a record of a tier comes from, or its dead letter."""
        origin = origin_of(record)
        names_itself = origin.topic == record.topic and record.topic not in self._by_topic
        if record.headers_error is not None or names_itself or not _TOPIC_NAME.fullmatch(origin.topic):
            error = DecodeError("decode", record.headers_error or "the record of a retry tier names no topic")
            return UnreadableRecord(record, self._first_topic, Reason.DECODE, described(error))
        try:
            return self._catalogue.topic(origin.topic)
        except UnknownEventError as unknown:
            return UnreadableRecord(record, origin.topic, Reason.UNKNOWN_HANDLER, described(unknown))

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
            except _WAITS:
                raise
            except PayloadElsewhereError:
                payload = DecodeError("decode", "the payload of a ticket is another ticket")
            except BaseException as error:  # noqa: BLE001 - as for values in records
                return _unreadable(record, topic, error)
        return _unreadable(record, topic, payload) if isinstance(payload, DecodeError) else payload

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
        except _WAITS:
            raise
        except BaseException as error:  # noqa: BLE001 - as for chunks of event topics
            return _unreadable(record, topic, error)
        why = self._window().rejection(event.event_id)
        return event if why is None else _rejected(record, topic, event, why)

    def _other_pool(self, record: Record, topic: Topic) -> Rerouted:
        """Move a record to the pool of its topic. A second move within a minute waits: two versions may disagree."""
        now, due_at = self._clock(), due_at_of(record)
        since = now - (header_number(record, headers.MOVED_AT) or 0)
        wait = min(max(0, POOL_MOVE_PAUSE_MS - since), POOL_MOVE_PAUSE_MS)
        tier = RetryTiers.of(self._catalogue, topic.pool).topic_for((due_at - now - wait) / 1000)
        return Rerouted(record, tier, due_at, moved_at=now + wait, wait=wait / 1000)

    def _unknown_handler(self, record: Record, topic: Topic, name: str | None) -> UnreadableRecord | Rerouted:
        """Decide about a record of an unknown handler. A rolling deployment may add it, so the record waits a day."""
        now = self._clock()
        since = min(now, headers.last_int(record.headers, headers.UNKNOWN_SINCE) or now)
        if name is None or now - since > UNKNOWN_HANDLER_MAX_AGE_MS:
            event = self._decode_record(topic, record)
            if isinstance(event, UnreadableRecord):
                return event
            if not isinstance(event, Event):  # its payload is in the storage, and is not needed for this dead letter
                error = ErrorText(Reason.UNKNOWN_HANDLER.name, f"no handler {name!r} of this topic in this version", "")
                return UnreadableRecord(record, topic.name, Reason.UNKNOWN_HANDLER, error, handler=name)
            message = f"no handler {name!r} of this topic in this version"
            return _rejected(record, topic, event, (Reason.UNKNOWN_HANDLER, message), handler=name)
        # A record that was forwarded before waits here until it is due. Otherwise it would circulate at full speed.
        wait = min(max(0, due_at_of(record) - now), UNKNOWN_HANDLER_PAUSE_MS)
        due_at = now + wait + UNKNOWN_HANDLER_PAUSE_MS
        return Rerouted(record, self._catalogue.tier(self._pool, 0.0), due_at, since, wait=wait / 1000)


def _check_headers(record: Record) -> None:
    """Read the headers. Raises DecodeError if that is not possible."""
    _ = record.headers
    if record.headers_error is not None:
        raise DecodeError("decode", record.headers_error)


def _unreadable(record: Record, topic: Topic, error: BaseException) -> UnreadableRecord:
    """Return the dead letter of a record that cannot be decoded, whatever decoding raised."""
    if isinstance(error, DecodeError):
        return UnreadableRecord(record, topic.name, Reason(error.reason), described(error))
    text = described(error)
    if marks_of(topic.event) is not None:  # the error may repeat marked values
        text = ErrorText(text.type_name, "reading the record failed", "")
    return UnreadableRecord(record, topic.name, Reason.DECODE, text)


def _rejected(
    record: Record, topic: Topic, event: Event, why: tuple[Reason, str], *, handler: str | None = None
) -> UnreadableRecord:
    reason, message = why
    error = ErrorText(type_name=reason.name, message=message, stack="")
    return UnreadableRecord(record, topic.name, reason, error, event.event_id, event.tenant_id, handler)
