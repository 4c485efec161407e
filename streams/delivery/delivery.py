"""One event for one handler, on its way from a record to its settlement."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID, uuid5

from schemas import Event
from schemas.event import event_time
from streams import headers
from streams.delivery.handler import Handler
from streams.topics import Topic
from streams.transport.kafka.records import Assignment, Chunk, Record

INT4, INT8 = 2**31 - 1, 2**63 - 1
_LAST_MS = round(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
TASK_NAMESPACE = UUID("6f1d3c52-6f0e-5a52-9c36-0d6b3f1c9a10")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the event first was; a retry record carries it in its headers."""

    topic: str
    partition: int
    offset: int
    timestamp: int


@dataclass(slots=True, eq=False)
class Pending:
    """A record of a chunk whose deliveries are not all settled yet: the last of them acknowledges its offset."""

    chunk: Chunk
    offset: int
    deliveries: int

    def settled(self) -> None:
        """One delivery less."""
        self.deliveries -= 1
        if self.deliveries == 0:
            self.chunk.settle(self.offset)


@dataclass(slots=True, eq=False)
class Delivery:
    """What the engine knows of one event for one handler. `seq` is the fence, `attempts` the runs so far."""

    event: Event
    handler: Handler[Event]
    topic: Topic
    record: Record
    pending: Pending | None
    """None: its offset is already acknowledged, the ledger has custody."""
    seq: int = 0
    attempts: int = 0
    replays: int = 0
    first_failed_at: int | None = None
    """ms since the epoch."""

    @property
    def origin(self) -> Origin:
        """Where the event first was; looked up when it is asked for, which most deliveries are not."""
        return origin_of(self.record)

    def fields(self) -> dict[str, object]:
        """What every log line about it says: place and attempts are the origin's."""
        origin = self.origin
        return {
            "event_id": str(self.event.event_id),
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "handler": self.handler.name,
            "attempt": self.run,
            "tenant_id": self.event.tenant_id,
        }

    @property
    def run(self) -> int:
        """The number of the run that is under way or comes next; 1 is the first."""
        return self.attempts + 1

    @property
    def day(self) -> date:
        """The ledger's partition: the UTC day of the event id's time. Intake has refused ids without one."""
        made_at = event_time(self.event.event_id)
        if made_at is None:
            message = f"event id {self.event.event_id} carries no time"
            raise ValueError(message)
        return made_at.date()

    @property
    def task_id(self) -> UUID:
        """The delivery's own id, the same on every run and every worker."""
        return uuid5(TASK_NAMESPACE, f"{self.event.event_id}/{self.handler.name}")

    @property
    def key(self) -> bytes:
        """What the lane is for; records without a key share one."""
        return self.record.key or b""

    @property
    def revoked(self) -> bool:
        """True once the partition went to another worker: nothing done for it here can be acknowledged."""
        return self.pending is not None and self.pending.chunk.assignment.revoked

    @property
    def assignment(self) -> Assignment | None:
        """The partition's assignment that its acknowledgement belongs to."""
        return None if self.pending is None else self.pending.chunk.assignment

    def acknowledge(self) -> None:
        """Settled, or in the ledger's custody: the offset need not wait for it. Harmless if repeated."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.settled()


def acknowledge_all(deliveries: Sequence[Delivery]) -> None:
    """Acknowledge each; the offsets of a partition together."""
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
    """The origin in a retry record's headers, or the record's own place."""
    last = dict(record.headers)
    topic = last.get(headers.ORIGIN_TOPIC)
    partition = _number(last.get(headers.ORIGIN_PARTITION), INT4)
    offset = _number(last.get(headers.ORIGIN_OFFSET))
    if topic is None or partition is None or offset is None:
        return Origin(record.topic, record.partition, record.offset, record.timestamp)
    timestamp = _number(last.get(headers.ORIGIN_TIMESTAMP))
    named = topic.decode("utf-8", errors="replace")
    return Origin(named, partition, offset, record.timestamp if timestamp is None else timestamp)


def number(record: Record, name: str, limit: int = INT8) -> int | None:
    """A header's number from 0 to `limit`; None for anything else, which no column could hold."""
    return _number(headers.last(record.headers, name), limit)


def _number(value: bytes | None, limit: int = INT8) -> int | None:
    found = headers.as_int(value)
    return found if found is not None and 0 <= found <= limit else None


def now_ms() -> int:
    """This process's clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def at_ms(milliseconds: int) -> datetime:
    """A UTC time from ms since the epoch; the nearest that there is where a producer wrote something else."""
    return datetime.fromtimestamp(min(max(0, milliseconds), _LAST_MS) / 1000, tz=UTC)


def due_at_of(record: Record) -> int:
    """When a tier's record is due, ms since the epoch; without the header at once."""
    return headers.last_int(record.headers, headers.DUE_AT) or 0
