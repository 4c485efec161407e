"""The state of the pipeline at one moment, as values. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.observability.metrics import Lag
from streams.observability.outbox_metrics import OutboxDepth

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of an event topic, a retry tier or a DLQ."""

    topic: str
    partition: int
    oldest_offset: int | None
    """None, like `end_offset`: no broker leads the partition, or its offsets cannot be read."""
    end_offset: int | None
    under_replicated: bool
    """Whether a replica is not in sync."""


@dataclass(frozen=True, slots=True)
class KafkaSample:
    """What the brokers report."""

    at: float
    """Seconds of a monotonic clock, for rates."""
    brokers: int
    partitions: Sequence[Partition]
    lags: Sequence[Lag]
    """One per pool and partition of its event topics and retry tiers, as in `streams lag`."""
    members: Mapping[str, int]
    """The number of members by consumer group. A group that is missing could not be read."""
    oldest: Mapping[Place, float | None]
    """The timestamp of the oldest unsettled record in seconds since the epoch.

    None: no record is there, only the markers of transactions. A partition with lag that is missing could not be read.
    """
    retention: Mapping[str, float]
    """Seconds of retention by topic, of topics that have unsettled records and delete by time."""


@dataclass(frozen=True, slots=True)
class OpenDeadLetters:
    """The number of dead letters that were not replayed, of one topic, handler and reason."""

    topic: str
    handler: str
    """Empty: the record could not be decoded."""
    reason: str
    number: int


@dataclass(frozen=True, slots=True)
class Death:
    """One of the newest dead letters."""

    died_at: datetime
    topic: str
    handler: str | None
    reason: str
    error_type: str
    id: str


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """A schedule and its slots."""

    name: str
    enabled: bool
    paused: bool
    next_slot: datetime | None
    """None: it is disabled, paused or broken."""
    last_success: datetime | None
    """When its last successful run ended."""
    missed: int
    """Slots that were recorded as missed within the last 24 hours."""
    broken: bool = False
    """Whether it should run and cannot: its row or its event is not understood. Then no slot is missed nor late."""


@dataclass(frozen=True, slots=True)
class PausedItem:
    """A topic or a handler that an operator paused."""

    kind: str
    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit breakers of one dependency, in all workers that reported within the last minute."""

    dependency: str
    waiting: int
    """The number of workers whose deliveries wait for the dependency."""
    workers: int
    error: str | None


@dataclass(frozen=True, slots=True)
class DatabaseSample:
    """What the ledger's database knows."""

    outbox: OutboxDepth
    dead_letters: Sequence[OpenDeadLetters]
    schedules: Sequence[ScheduleState]
    paused: Sequence[PausedItem]
    breakers: Sequence[Breaker]
    deaths: Sequence[Death] = ()
    """The newest ones first; empty if they were not asked for."""
