"""The records that a delivery leaves behind: for a retry tier or a DLQ. Pure: bytes and headers, no I/O."""

import hashlib
import json
from dataclasses import dataclass
from uuid import UUID

from streams import headers
from streams.delivery.delivery import Delivery, Origin, origin_of
from streams.delivery.errors import Reason
from streams.delivery.settlement.dead_value import DeadValue
from streams.headers import Headers
from streams.observability.error_text import MESSAGE_LIMIT, STACK_LIMIT, ErrorText
from streams.transport.kafka.records import Record

HISTORY_ENTRIES = 5
"""Attempts kept in a retry record's history header; the ledger has them all."""
HISTORY_ERROR_BYTES = 200


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record ready to be produced."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def retry_record(  # noqa: PLR0913 - the fields of a retry record's headers
    delivery: Delivery,
    *,
    topic: str,
    seq: int,
    attempts: int,
    due_at: int,
    first_failed_at: int | None,
    history: list[object] | None = None,
) -> OutgoingRecord:
    """The delivery's record for a retry tier: key, value and event headers as they came, `streams-*` replaced."""
    kept = headers.without(delivery.record.headers, headers.STREAMS_PREFIX)
    added: list[tuple[str, bytes]] = [
        (headers.HANDLER, headers.text(delivery.handler.name)),
        (headers.SEQ, headers.decimal(seq)),
        (headers.ATTEMPT, headers.decimal(attempts)),
        (headers.DUE_AT, headers.decimal(due_at)),
        *_origin_headers(delivery.origin),
    ]
    if first_failed_at is not None:
        added.append((headers.FIRST_FAILED_AT, headers.decimal(first_failed_at)))
    if delivery.replays:
        added.append((headers.REPLAYS, headers.decimal(delivery.replays)))
    entries = read_history(delivery.record.headers) if history is None else history
    if entries:
        added.append((headers.HISTORY, json.dumps(entries[-HISTORY_ENTRIES:], separators=(",", ":")).encode()))
    return OutgoingRecord(topic, delivery.record.key, delivery.record.value, (*kept, *added))


def unread_record(record: Record, handler: str, topic: str, due_at: int) -> OutgoingRecord:
    """An event topic's record for a retry tier, for one handler that has not been given it."""
    kept = headers.without(record.headers, headers.STREAMS_PREFIX)
    added = (
        (headers.HANDLER, headers.text(handler)),
        (headers.SEQ, headers.decimal(0)),
        (headers.ATTEMPT, headers.decimal(0)),
        (headers.DUE_AT, headers.decimal(due_at)),
        *_origin_headers(origin_of(record)),
    )
    return OutgoingRecord(topic, record.key, record.value, (*kept, *added))


def moved_record(
    record: Record, topic: str, due_at: int | None = None, unknown_since: int | None = None
) -> OutgoingRecord:
    """A tier's record for another tier, uncounted: as it is, but for a new due time where one is given."""
    kept = record.headers
    if due_at is not None:
        kept = (*headers.without(kept, headers.DUE_AT), (headers.DUE_AT, headers.decimal(due_at)))
    if unknown_since is not None:
        kept = (
            *headers.without(kept, headers.UNKNOWN_SINCE),
            (headers.UNKNOWN_SINCE, headers.decimal(unknown_since)),
        )
    return OutgoingRecord(topic, record.key, record.value, kept)


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """Why a record dies, for its headers and the index of dead letters."""

    reason: Reason
    error: ErrorText
    attempts: int
    first_failed_at: int
    """ms since the epoch."""
    died_at: int
    group: str
    handler: str | None = None
    event_id: UUID | None = None
    replays: int = 0


def dead_record(
    record: Record, topic: str, death: DeadLetterInfo, kept_value: DeadValue | None = None
) -> OutgoingRecord:
    """The record for a DLQ: key, value and headers byte for byte, and what failed, where, how often, since when.

    `kept_value`: the value instead, where it has secret fields.
    """
    dead = kept_value or DeadValue(record.value)
    origin = origin_of(record)
    kept = headers.without(record.headers, headers.STREAMS_PREFIX, headers.DLQ_PREFIX, headers.SPRING_PREFIX)
    message = headers.text(death.error.message, MESSAGE_LIMIT)
    stack = headers.text(death.error.stack, STACK_LIMIT)
    kind = headers.text(death.error.type_name)
    own: list[tuple[str, bytes]] = [
        (headers.DLQ_TOPIC, headers.text(origin.topic)),
        (headers.DLQ_PARTITION, headers.decimal(origin.partition)),
        (headers.DLQ_OFFSET, headers.decimal(origin.offset)),
        (headers.DLQ_GROUP, headers.text(death.group)),
        (headers.DLQ_DELIVERY_COUNT, headers.decimal(death.attempts)),
        (headers.DLQ_MESSAGE, message),
        (headers.DLQ_EXCEPTION_CLASS, kind),
        (headers.DLQ_EXCEPTION_STACKTRACE, stack),
        (headers.DLQ_REASON, headers.text(death.reason)),
        (headers.DLQ_FIRST_FAILED_AT, headers.decimal(death.first_failed_at)),
        (headers.DLQ_DIED_AT, headers.decimal(death.died_at)),
        (headers.DLQ_REPLAY_COUNT, headers.decimal(death.replays)),
        (headers.DLQ_FINGERPRINT, headers.text(fingerprint(death))),
    ]
    if death.handler is not None:
        own.append((headers.DLQ_HANDLER, headers.text(death.handler)))
    if death.event_id is not None:
        own.append((headers.DLQ_EVENT_ID, headers.text(str(death.event_id))))
    if dead.protection is not None:
        own.append((headers.DLQ_PROTECTION, headers.text(dead.protection)))
    spring: list[tuple[str, bytes]] = [
        (headers.SPRING_TOPIC, headers.text(origin.topic)),
        (headers.SPRING_PARTITION, headers.spring_int(origin.partition)),
        (headers.SPRING_OFFSET, headers.spring_long(origin.offset)),
        (headers.SPRING_TIMESTAMP, headers.spring_long(origin.timestamp)),
        (headers.SPRING_TIMESTAMP_TYPE, headers.text(record.timestamp_type)),
        (headers.SPRING_GROUP, headers.text(death.group)),
        (headers.SPRING_EXCEPTION_CLASS, kind),
        (headers.SPRING_EXCEPTION_MESSAGE, message),
        (headers.SPRING_EXCEPTION_STACKTRACE, stack),
    ]
    return OutgoingRecord(topic, record.key, dead.value, (*kept, *own, *spring))


def fingerprint(death: DeadLetterInfo) -> str:
    """The same for failures of one kind: handler, reason and exception class, 16 hex digits."""
    kind = "\n".join((death.handler or "", death.reason, death.error.type_name))
    return hashlib.sha256(kind.encode()).hexdigest()[:16]


def history_entry(run: int, at: int, error: str) -> dict[str, object]:
    """One failed attempt for the history header; `at` in ms since the epoch."""
    short = headers.text(error, HISTORY_ERROR_BYTES).decode()
    return {"attempt": run, "at": at, "error": short}


def read_history(record_headers: Headers) -> list[object]:
    """The attempts in a retry record's history header; nothing where it is missing or unreadable."""
    raw = headers.last(record_headers, headers.HISTORY)
    if raw is None:
        return []
    try:
        entries = json.loads(raw)
    except ValueError:
        return []
    return entries if isinstance(entries, list) else []


def _origin_headers(origin: Origin) -> list[tuple[str, bytes]]:
    return [
        (headers.ORIGIN_TOPIC, headers.text(origin.topic)),
        (headers.ORIGIN_PARTITION, headers.decimal(origin.partition)),
        (headers.ORIGIN_OFFSET, headers.decimal(origin.offset)),
        (headers.ORIGIN_TIMESTAMP, headers.decimal(origin.timestamp)),
    ]
