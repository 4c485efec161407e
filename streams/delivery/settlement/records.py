"""Builds what a settlement writes: records for retry tiers, and the values of the row. Pure, without I/O."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streams import headers
from streams.delivery.delivery import Delivery, Origin, at_ms, origin_of, read_history
from streams.delivery.ledger.columns import primary_key, storable
from streams.delivery.settlement.decision import Outcome
from streams.headers import Headers
from streams.observability.tracing import NO_SPAN, Span
from streams.transport.kafka.records import Record

HISTORY_ENTRIES = 5
"""Attempts in the history header of a retry record; the ledger has more of them."""
HISTORY_ERROR_BYTES = 200


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record ready to be produced."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class RetryState:
    """What a retry record's headers say about the delivery's next run."""

    seq: int
    attempts: int
    due_at: int
    """ms since the epoch."""
    first_failed_at: int | None = None
    """ms since the epoch."""
    history: Sequence[object] = ()
    """Entries from `history_entry`, the oldest first."""
    deferrals: int = 0
    """How often it was deferred in a row, because a pause or an open breaker blocks it."""
    last_span: bytes | None = None
    """`traceparent` of the attempt. None: it was not traced; then the one before stays the last."""


def retry_state(delivery: Delivery, outcome: Outcome, span: Span = NO_SPAN) -> RetryState:
    """Return the header values of a retry record after an attempt with this outcome and this span."""
    due_at = outcome.ended_at if outcome.due_at is None else outcome.due_at
    history, first_failed_at = read_history(delivery.record.headers), delivery.first_failed_at
    if outcome.error_line is not None:
        history.append(history_entry(delivery.run_number, outcome.ended_at, outcome.error_line))
        if first_failed_at is None:
            first_failed_at = outcome.ended_at
    return RetryState(outcome.seq, outcome.attempts, due_at, first_failed_at, history, last_span=span.traceparent)


def retry_record(delivery: Delivery, topic: str, state: RetryState) -> OutgoingRecord:
    """Return a delivery's record for a retry tier: key, value and headers unchanged, `streams-*` headers replaced.

    Args:
        delivery: What runs again.
        topic: The tier's topic.
        state: The values of its headers.
    """
    kept = headers.without(delivery.record.headers, headers.STREAMS_PREFIX)
    added = _retry_headers(delivery.handler.name, state, delivery.origin)
    if state.first_failed_at is not None:
        added.append((headers.FIRST_FAILED_AT, headers.decimal(state.first_failed_at)))
    if delivery.replays:
        added.append((headers.REPLAYS, headers.decimal(delivery.replays)))
    if state.history:
        entries = list(state.history[-HISTORY_ENTRIES:])
        added.append((headers.HISTORY, json.dumps(entries, separators=(",", ":")).encode()))
    if state.deferrals:
        added.append((headers.DEFERRALS, headers.decimal(state.deferrals)))
    if last_span := state.last_span or headers.last(delivery.record.headers, headers.LAST_SPAN):
        added.append((headers.LAST_SPAN, last_span))
    return OutgoingRecord(topic, delivery.record.key, delivery.record.value, (*kept, *added))


def unread_record(record: Record, handler: str, topic: str, due_at: int) -> OutgoingRecord:
    """Return an undecoded record of an event topic for a retry tier and one handler.

    Args:
        record: The record of the event topic.
        handler: The handler's name.
        topic: The tier's topic.
        due_at: When to read it again, ms since the epoch.
    """
    kept = headers.without(record.headers, headers.STREAMS_PREFIX)
    added = _retry_headers(handler, RetryState(0, 0, due_at), origin_of(record))
    return OutgoingRecord(topic, record.key, record.value, (*kept, *added))


def moved_record(
    record: Record,
    topic: str,
    due_at: int | None = None,
    unknown_since: int | None = None,
    moved_at: int | None = None,
) -> OutgoingRecord:
    """Return a retry record for another tier, unchanged except for the given times. No attempt is counted.

    Args:
        record: The record of a tier.
        topic: The other tier's topic.
        due_at: When it runs, ms since the epoch.
        unknown_since: Since when no worker has known its handler, ms since the epoch.
        moved_at: When it was moved to another pool, ms since the epoch.
    """
    kept = record.headers
    changes = ((headers.DUE_AT, due_at), (headers.UNKNOWN_SINCE, unknown_since), (headers.MOVED_AT, moved_at))
    for name, moment in changes:
        if moment is not None:
            kept = (*headers.without(kept, name), (name, headers.decimal(moment)))
    return OutgoingRecord(topic, record.key, record.value, kept)


def history_entry(run: int, at: int, error: str) -> dict[str, object]:
    """Return the entry of one failed attempt for the history header.

    Args:
        run: The number of the attempt.
        at: When it failed, ms since the epoch.
        error: One line, which is cut to `HISTORY_ERROR_BYTES`.
    """
    short = headers.text(error, HISTORY_ERROR_BYTES).decode()
    return {"attempt": run, "at": at, "error": short}


def settled_values(
    delivery: Delivery, outcome: Outcome, started_at: datetime, worker: str, note: str | None
) -> dict[str, object]:
    """Return the parameters of `ledger.settle.SETTLE`.

    Args:
        delivery: Whose row it is.
        outcome: The row's next state.
        started_at: When the attempt began.
        worker: Who settles it.
        note: The error for the row and its history.
    """
    error = storable(note)
    return {
        **primary_key(delivery),
        "status": outcome.status,
        "seq": outcome.seq,
        "attempts": outcome.attempts,
        "error": error,
        "reason": outcome.reason,
        "due_at": None if outcome.due_at is None else at_ms(outcome.due_at),
        "started_at": started_at,
        "worker": worker,
        "lost": outcome.lost,
        "entry": json.dumps([{**attempt_entry(delivery, outcome, started_at, worker), "error": error}]),
    }


def attempt_entry(delivery: Delivery, outcome: Outcome, started_at: datetime, worker: str) -> dict[str, object]:
    """Return one object of the row's `history`, without its error. It is different for each attempt.

    Args:
        delivery: What was attempted.
        outcome: How the attempt ended.
        started_at: When it began.
        worker: Who ran it, or settles it.
    """
    return {
        "attempt": delivery.run_number,
        "started_at": started_at.isoformat(),
        "completed_at": at_ms(outcome.ended_at).isoformat(),
        "outcome": outcome.history_outcome,
        "worker": worker,
    }


def _retry_headers(handler: str, state: RetryState, origin: Origin) -> list[tuple[str, bytes]]:
    return [
        (headers.HANDLER, headers.text(handler)),
        (headers.SEQ, headers.decimal(state.seq)),
        (headers.ATTEMPT, headers.decimal(state.attempts)),
        (headers.DUE_AT, headers.decimal(state.due_at)),
        (headers.ORIGIN_TOPIC, headers.text(origin.topic)),
        (headers.ORIGIN_PARTITION, headers.decimal(origin.partition)),
        (headers.ORIGIN_OFFSET, headers.decimal(origin.offset)),
        (headers.ORIGIN_TIMESTAMP, headers.decimal(origin.timestamp)),
    ]
