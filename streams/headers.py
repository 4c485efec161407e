"""The names and encodings of all headers.

Sources: CloudEvents Kafka binding (binary mode), W3C trace context, KIP-1191 (``__dlq.errors.*``), and Spring Kafka's
``KafkaHeaders`` (``kafka_dlt-*``, big-endian numbers). ``streams-*`` headers are UTF-8. Their numbers are decimal and
their times are milliseconds since the epoch.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]
"""Headers in the order of the record. A name may occur more than once, and a header may have no value (null)."""

# CloudEvents, binary mode
CE_SPECVERSION: Final = "ce_specversion"
CE_ID: Final = "ce_id"
CE_TYPE: Final = "ce_type"
CE_SOURCE: Final = "ce_source"
CE_TIME: Final = "ce_time"
CE_SUBJECT: Final = "ce_subject"
CE_EXPIRYTIME: Final = "ce_expirytime"
"""CloudEvents' extension "Expiry Time": no attempt starts at or after this time."""
CE_WAITING_SINCE: Final = "ce_waitingsince"
"""CloudEvents' extension of this pipeline, written only for traced events: when an event for later was published, or
the slot of a schedule's event."""
CONTENT_TYPE: Final = "content-type"
TRACEPARENT: Final = "traceparent"
"""W3C trace context. The producer writes it, every hop passes it on."""

# Retry records
HANDLER: Final = "streams-handler"
SEQ: Final = "streams-seq"
ATTEMPT: Final = "streams-attempt"
DUE_AT: Final = "streams-due-at"
FIRST_FAILED_AT: Final = "streams-first-failed-at"
ORIGIN_TOPIC: Final = "streams-origin-topic"
ORIGIN_PARTITION: Final = "streams-origin-partition"
ORIGIN_OFFSET: Final = "streams-origin-offset"
ORIGIN_TIMESTAMP: Final = "streams-origin-timestamp"
HISTORY: Final = "streams-history"
REPLAYS: Final = "streams-replays"
UNKNOWN_SINCE: Final = "streams-unknown-since"
"""When a worker that does not know the record's handler first read it (rolling deployments)."""
MOVED_AT: Final = "streams-moved-at"
"""When the record was moved to the pool of its topic: workers of two versions may each know another pool."""
DEFERRALS: Final = "streams-deferrals"
"""How often the delivery was deferred in a row, because a pause or an open breaker blocks it."""
LAST_SPAN: Final = "streams-last-span"
"""`traceparent` of the last attempt, or of the death before a replay. Only where that was traced."""
STREAMS_PREFIX: Final = "streams-"

# Dead letters
DLQ_PREFIX: Final = "__dlq.errors."
DLQ_TOPIC: Final = DLQ_PREFIX + "topic"
DLQ_PARTITION: Final = DLQ_PREFIX + "partition"
DLQ_OFFSET: Final = DLQ_PREFIX + "offset"
DLQ_GROUP: Final = DLQ_PREFIX + "group"
DLQ_DELIVERY_COUNT: Final = DLQ_PREFIX + "delivery.count"
DLQ_MESSAGE: Final = DLQ_PREFIX + "message"
DLQ_EXCEPTION_CLASS: Final = DLQ_PREFIX + "exception.class.name"
DLQ_EXCEPTION_STACKTRACE: Final = DLQ_PREFIX + "exception.stacktrace"
DLQ_REASON: Final = DLQ_PREFIX + "reason"
DLQ_HANDLER: Final = DLQ_PREFIX + "handler"
DLQ_FIRST_FAILED_AT: Final = DLQ_PREFIX + "first.failed.at"
DLQ_DIED_AT: Final = DLQ_PREFIX + "died.at"
DLQ_REPLAY_COUNT: Final = DLQ_PREFIX + "replay.count"
DLQ_FINGERPRINT: Final = DLQ_PREFIX + "fingerprint"
DLQ_EVENT_ID: Final = DLQ_PREFIX + "event.id"
DLQ_PROTECTION: Final = DLQ_PREFIX + "protection"
"""How a value with secret fields was protected: encrypted, masked or removed."""
DLQ_OMITTED: Final = DLQ_PREFIX + "omitted"
"""What the dead letter does not have of its record: "value", "headers", or both with a comma between."""
DLQ_SPAN: Final = DLQ_PREFIX + "span"
"""`traceparent` of the settlement that wrote the dead letter. Only where that was traced."""

SPRING_PREFIX: Final = "kafka_dlt-"
SPRING_TOPIC: Final = SPRING_PREFIX + "original-topic"
SPRING_PARTITION: Final = SPRING_PREFIX + "original-partition"
SPRING_OFFSET: Final = SPRING_PREFIX + "original-offset"
SPRING_TIMESTAMP: Final = SPRING_PREFIX + "original-timestamp"
SPRING_TIMESTAMP_TYPE: Final = SPRING_PREFIX + "original-timestamp-type"
SPRING_GROUP: Final = SPRING_PREFIX + "original-consumer-group"
SPRING_EXCEPTION_CLASS: Final = SPRING_PREFIX + "exception-fqcn"
SPRING_EXCEPTION_MESSAGE: Final = SPRING_PREFIX + "exception-message"
SPRING_EXCEPTION_STACKTRACE: Final = SPRING_PREFIX + "exception-stacktrace"

HEADERS_LIMIT: Final = 64 * 1024
"""The maximum size in bytes of all headers that the pipeline adds. Topics have room for them."""


def text(value: str, limit: int | None = None) -> bytes:
    """Return UTF-8, cut to at most `limit` bytes at a character boundary."""
    encoded = value.encode("utf-8", errors="replace")
    if limit is None or len(encoded) <= limit:
        return encoded
    return encoded[:limit].decode("utf-8", errors="ignore").encode()


def decimal(value: int) -> bytes:
    """Return a whole number as decimal digits."""
    return str(value).encode()


def time_text(moment: datetime) -> bytes:
    """Return a time as RFC 3339 in UTC. Raises ValueError if it has no UTC offset."""
    if moment.utcoffset() is None:
        message = f"the time {moment.isoformat()} has no UTC offset: give it a tzinfo, such as UTC"
        raise ValueError(message)
    return moment.astimezone(UTC).isoformat().encode()


def spring_int(value: int) -> bytes:
    """Return a number in Spring's encoding: 4 bytes, big-endian, signed."""
    return value.to_bytes(4, "big", signed=True)


def spring_long(value: int) -> bytes:
    """Return a number in Spring's encoding: 8 bytes, big-endian, signed."""
    return value.to_bytes(8, "big", signed=True)


def as_spring_number(value: bytes | None) -> int | None:
    """Return a number in Spring's encoding, or None if it is missing or has another length than 4 or 8 bytes."""
    return int.from_bytes(value, "big", signed=True) if value is not None and len(value) in {4, 8} else None


def last(headers: Iterable[tuple[str, bytes | None]], name: str) -> bytes | None:
    """Return the last value of a header, since the newest hop appends. None: no such header, or it has no value."""
    found = None
    for header, value in headers:
        if header == name:
            found = value
    return found


def last_text(headers: Iterable[tuple[str, bytes | None]], name: str) -> str | None:
    """Return the last value as text. Bytes that are not UTF-8 become replacement characters."""
    value = last(headers, name)
    return None if value is None else value.decode("utf-8", errors="replace")


def last_int(headers: Iterable[tuple[str, bytes | None]], name: str) -> int | None:
    """Return the last value as a decimal number, or None if it is missing or not a number."""
    return as_int(last(headers, name))


def as_int(value: bytes | None) -> int | None:
    """Return a header's value as a decimal number, or None if it is missing or not a number."""
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        return None


def last_time(headers: Iterable[tuple[str, bytes | None]], name: str) -> datetime | None:
    """Return the last value as a time (RFC 3339), or None if it is missing or not a time."""
    value = last(headers, name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value.decode("ascii").upper())
    except ValueError:
        return None
    return None if moment.utcoffset() is None else moment


def without(headers: Iterable[tuple[str, bytes | None]], *prefixes: str) -> Headers:
    """Return the headers that do not start with one of the prefixes. A hop replaces its headers and adds no copies."""
    return tuple((name, value) for name, value in headers if not name.startswith(prefixes))
