"""From records to deliveries: decode, check the event id, find the handlers. What cannot be read dies here."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from schemas import Event
from schemas.event import event_time
from streams import headers
from streams.codec import DecodeError
from streams.delivery.context import PoolContext
from streams.delivery.delivery import INT4, Delivery, Pending, now_ms, number, origin_of
from streams.delivery.failures import Reason
from streams.observe.errors import ErrorText, describe
from streams.topics import Topic, UnknownEventError
from streams.transport.record import Chunk, Record

FUTURE_LIMIT = timedelta(days=1)
"""How far ahead of the clock an event id may be: the ledger's partitions are attached that far and farther."""
UNKNOWN_HANDLER_LIFE_MS = 24 * 3600 * 1000
"""A record for a handler that this version does not know waits so long for a version that does."""
UNKNOWN_HANDLER_PAUSE_MS = 60 * 1000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that no handler can be given."""

    record: Record
    topic: str
    reason: Reason
    error: ErrorText
    event_id: UUID | None = None
    tenant_id: str | None = None
    handler: str | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A waiting record that belongs into another tier: its handler has moved pool, or is not known yet."""

    record: Record
    tier: str
    due_at: int
    unknown_since: int | None = None
    rest: float = 0.0
    """Seconds that it has to wait here before it goes on."""


def read_event_record(context: PoolContext, chunk: Chunk, record: Record) -> list[Delivery] | Unreadable:
    """The deliveries of a record of an event topic, one a handler; all share its offset."""
    topic = context.catalogue.topic(record.topic)
    if any(name.startswith(headers.STREAMS_PREFIX) for name, _ in record.headers):
        # They mean something in a tier only; here they would give the event somebody else's origin.
        record = record._replace(headers=headers.without(record.headers, headers.STREAMS_PREFIX))
    event = _read(context, topic, record)
    if isinstance(event, Unreadable):
        return event
    handlers = context.by_topic.get(topic.name, ())
    if not handlers:
        chunk.settle(record.offset)
        return []
    pending = Pending(chunk, record.offset, len(handlers))
    origin = origin_of(record)
    return [Delivery(event, handler, topic, record, pending, origin) for handler in handlers]


def read_tier_record(context: PoolContext, chunk: Chunk, record: Record) -> Delivery | Unreadable | Elsewhere:
    """The one delivery of a record of a retry tier; its handler and origin are in its headers."""
    origin = origin_of(record)
    try:
        topic = context.catalogue.topic(origin.topic)
    except UnknownEventError as error:
        return Unreadable(record, origin.topic, Reason.UNKNOWN_HANDLER, describe(error))
    name = headers.last_text(record.headers, headers.HANDLER)
    handler = context.handlers.get(name or "")
    if handler is None:
        return _unknown(context, record, topic, name)
    if topic.pool != context.pool.name:
        return Elsewhere(record, context.catalogue.tier(topic.pool, 0.0), due_at_of(record))
    event = _read(context, topic, record)
    if isinstance(event, Unreadable):
        return replace(event, handler=handler.name)
    return Delivery(
        event,
        handler,
        topic,
        record,
        Pending(chunk, record.offset, 1),
        origin,
        seq=number(record, headers.SEQ, INT4 - 1) or 0,
        attempts=number(record, headers.ATTEMPT, INT4 - 1) or 0,
        replays=number(record, headers.REPLAYS, INT4) or 0,
        first_failed_at=number(record, headers.FIRST_FAILED_AT),
    )


def due_at_of(record: Record) -> int:
    """When a tier's record is due, ms since the epoch; without the header at once."""
    return headers.last_int(record.headers, headers.DUE_AT) or 0


def _read(context: PoolContext, topic: Topic, record: Record) -> Event | Unreadable:
    try:
        event = context.codec.decode(topic.name, record.value)
    except DecodeError as error:
        return Unreadable(record, topic.name, Reason(error.reason), describe(error))
    made_at = _made_at(event.event_id)
    now = datetime.now(tz=UTC)
    if made_at is None or made_at > now + FUTURE_LIMIT:
        return _refused(record, topic, event, Reason.BAD_EVENT_ID, "the event id is no UUIDv7 of a time until now")
    if made_at.date() < (now - timedelta(days=context.settings.ledger_retention_days)).date():
        days = context.settings.ledger_retention_days
        return _refused(record, topic, event, Reason.EXPIRED, f"the event is older than the ledger's {days} days")
    return event


def _made_at(event_id: UUID) -> datetime | None:
    try:
        return event_time(event_id)
    except (ValueError, OverflowError):  # its 48 bits of milliseconds reach beyond the year 9999
        return None


def _refused(  # noqa: PLR0913 - what the dead letter says
    record: Record, topic: Topic, event: Event, reason: Reason, message: str, *, handler: str | None = None
) -> Unreadable:
    error = ErrorText(type_name=reason.name, message=message, stack="")
    return Unreadable(record, topic.name, reason, error, event.event_id, event.tenant_id, handler)


def _unknown(context: PoolContext, record: Record, topic: Topic, name: str | None) -> Unreadable | Elsewhere:
    """A rolling deploy may bring the handler: wait a day before the record dies."""
    since = headers.last_int(record.headers, headers.UNKNOWN_SINCE) or now_ms()
    if name is None or now_ms() - since > UNKNOWN_HANDLER_LIFE_MS:
        event = _read(context, topic, record)
        if isinstance(event, Unreadable):
            return event
        message = f"no handler {name!r} in this version"
        return _refused(record, topic, event, Reason.UNKNOWN_HANDLER, message, handler=name)
    # One that has been sent round before waits here for its time: at once, it would go round as fast as Kafka can.
    rest = min(max(0, due_at_of(record) - now_ms()), UNKNOWN_HANDLER_PAUSE_MS)
    due_at = now_ms() + rest + UNKNOWN_HANDLER_PAUSE_MS
    return Elsewhere(record, context.catalogue.tier(context.pool.name, 0.0), due_at, since, rest / 1000)
