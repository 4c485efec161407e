"""A delivery: one event for one handler, from the record to its settlement."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID, uuid5

from schemas import Event
from schemas.event import event_time
from streams import headers
from streams.delivery.handler import Handler
from streams.observability.tracing import trace_id_of
from streams.topics import Topic
from streams.transport.kafka.records import Assignment, Chunk, Record

INT4, INT8 = 2**31 - 1, 2**63 - 1
_LAST_MS = round(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
TASK_NAMESPACE = UUID("6f1d3c52-6f0e-5a52-9c36-0d6b3f1c9a10")


@dataclass(frozen=True, slots=True)
class Origin:
    """The first position of an event in Kafka. The headers of a retry record contain it."""

    topic: str
    partition: int
    offset: int
    timestamp: int


@dataclass(slots=True, eq=False)
class PendingRecord:
    """A record with unsettled deliveries. Settling the last one acknowledges the offset."""

    chunk: Chunk
    offset: int
    deliveries: int

    def delivery_settled(self) -> None:
        """Note that one delivery is settled."""
        self.deliveries -= 1
        if self.deliveries == 0:
            self.chunk.settle(self.offset)


@dataclass(slots=True, eq=False)
class Delivery:
    """One event for one handler. `seq` is the fencing token, `attempts` counts the runs so far."""

    event: Event
    handler: Handler[Event]
    topic: Topic
    record: Record
    pending: PendingRecord | None
    """None: the offset is already acknowledged, because the ledger keeps the record."""
    seq: int = 0
    attempts: int = 0
    replays: int = 0
    first_failed_at: int | None = None
    """ms since the epoch."""
    lost_runs: int = 0
    """Runs since the last counted one that lost their connection to the database."""
    due_since: float | None = None
    """When a delivery of a retry tier became due, in seconds of `time.perf_counter`. None: it never waited for that."""

    @property
    def origin(self) -> Origin:
        """The first position of the event. Read from the headers on access, since most deliveries never need it."""
        return origin_of(self.record)

    def log_fields(self) -> dict[str, object]:
        """Return the fields of every log line about this delivery. The position is that of the origin."""
        origin = self.origin
        return {
            "event_id": str(self.event.event_id),
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "handler": self.handler.name,
            "attempt": self.run_number,
            "tenant_id": self.event.tenant_id,
        }

    @property
    def run_number(self) -> int:
        """The number of the current or next run; 1 is the first."""
        return self.attempts + 1

    @property
    def day(self) -> date:
        """The ledger's partition: the UTC day of the event id's timestamp. Decoding rejects ids without one."""
        made_at = event_time(self.event.event_id)
        if made_at is None:
            message = f"event id {self.event.event_id} has no timestamp"
            raise ValueError(message)
        return made_at.date()

    @property
    def task_id(self) -> UUID:
        """The id of this delivery, the same for every run and every worker."""
        return uuid5(TASK_NAMESPACE, f"{self.event.event_id}/{self.handler.name}")

    @property
    def trace_id(self) -> str | None:
        """The trace of the event, the same for every run: 32 hexadecimal digits. None: its sender named no trace."""
        return trace_id_of(self.record.last_header(headers.TRACEPARENT))

    @property
    def key(self) -> bytes:
        """The key of the lane. Records without a key share one lane."""
        return self.record.key or b""

    @property
    def revoked(self) -> bool:
        """Whether the partition was revoked: this worker can no longer acknowledge the offset."""
        return self.pending is not None and self.pending.chunk.assignment.revoked

    @property
    def assignment(self) -> Assignment | None:
        """The assignment that the offset belongs to; None: already acknowledged."""
        return None if self.pending is None else self.pending.chunk.assignment

    def acknowledge(self) -> None:
        """Release the offset: the delivery is settled, or the ledger keeps its record. Idempotent."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.delivery_settled()


def acknowledge_all(deliveries: Sequence[Delivery]) -> None:
    """Acknowledge deliveries; the offsets of one partition are settled in one call."""
    if len(deliveries) == 1:
        deliveries[0].acknowledge()
        return
    settled: dict[Assignment, list[int]] = {}
    for delivery in deliveries:
        pending, delivery.pending = delivery.pending, None
        if pending is not None:
            pending.deliveries -= 1
            if pending.deliveries == 0:
                settled.setdefault(pending.chunk.assignment, []).append(pending.offset)
    for assignment, offsets in settled.items():
        assignment.settle_all(offsets)


def origin_of(record: Record) -> Origin:
    """Return the origin from a retry record's headers, or the record's own position."""
    last = dict(record.headers)
    topic = last.get(headers.ORIGIN_TOPIC)
    partition = _header_value(last.get(headers.ORIGIN_PARTITION), INT4)
    offset = _header_value(last.get(headers.ORIGIN_OFFSET))
    if topic is None or partition is None or offset is None:
        return Origin(record.topic, record.partition, record.offset, record.timestamp)
    timestamp = _header_value(last.get(headers.ORIGIN_TIMESTAMP))
    named = topic.decode("utf-8", errors="replace")
    return Origin(named, partition, offset, record.timestamp if timestamp is None else timestamp)


def header_number(record: Record, name: str, limit: int = INT8) -> int | None:
    """Return a header's number from 0 to `limit`; None for any other value, which no column could hold."""
    return _header_value(headers.last(record.headers, name), limit)


def _header_value(value: bytes | None, limit: int = INT8) -> int | None:
    found = headers.as_int(value)
    return found if found is not None and 0 <= found <= limit else None


def now_ms() -> int:
    """Return the current time in ms since the epoch."""
    return time.time_ns() // 1_000_000


def at_ms(milliseconds: int) -> datetime:
    """Return a UTC time from ms since the epoch. A value out of range, as a producer may write it, is clamped."""
    return datetime.fromtimestamp(min(max(0, milliseconds), _LAST_MS) / 1000, tz=UTC)


def due_at_of(record: Record) -> int:
    """Return when a retry record is due, ms since the epoch; 0 (at once) without the header, or if it is no time."""
    return header_number(record, headers.DUE_AT, _LAST_MS) or 0


def read_history(record_headers: headers.Headers) -> list[object]:
    """Return the attempts in the history header of a retry record; empty if it is missing or invalid."""
    raw = headers.last(record_headers, headers.HISTORY)
    if raw is None:
        return []
    try:
        entries = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    return entries if isinstance(entries, list) else []
