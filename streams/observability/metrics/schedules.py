"""The metrics of schedules: what became of their slots."""

from prometheus_client import Counter

from streams.observability.metrics.registry import REGISTRY

_slots = Counter(
    "streams_schedule_slots_total",
    "Slots of schedules by what became of them: pending when claimed, then success or failure; missed or skipped.",
    ("schedule", "status"),
    registry=REGISTRY,
)

_late = Counter(
    "streams_schedule_slots_late_total",
    "Slots whose run began more than 5 s after the slot; missed and skipped ones are not counted.",
    ("schedule",),
    registry=REGISTRY,
)
_overlapping = Counter(
    "streams_schedule_slots_overlapping_total",
    "Slots that were due while an earlier run of their schedule had not ended, whatever became of them.",
    ("schedule",),
    registry=REGISTRY,
)
LATE_SECONDS = 5.0
"""A slot whose run begins later than this after the slot counts as late. The clocks look twice a second."""


class SlotCounts:
    """What one transaction does with the slots of a schedule. It is counted after the commit, or not at all."""

    def __init__(self, schedule: str) -> None:
        self._schedule = schedule
        self._statuses: list[str] = []
        self._late: list[bool] = []
        self._overlapping = 0

    def add_status(self, status: str) -> None:
        """Add a slot that is claimed (pending), missed or skipped, or that ended with a status."""
        self._statuses.append(status)

    def add_start(self, seconds: float) -> None:
        """Add a slot whose run begins so many seconds after the slot."""
        self._late.append(seconds > LATE_SECONDS)

    def add_overlap(self) -> None:
        """Add a slot that is due while an earlier run has not ended."""
        self._overlapping += 1

    def count(self) -> None:
        """Count everything: the transaction is committed."""
        for status in self._statuses:
            _slots.labels(self._schedule, status).inc()
        if self._statuses or self._late:
            _late.labels(self._schedule).inc(sum(self._late))
            _overlapping.labels(self._schedule).inc(self._overlapping)
