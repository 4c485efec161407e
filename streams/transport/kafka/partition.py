"""The poll thread's state of one owned partition: when to pause it, what to commit. Does no I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.transport.kafka.group import Group, LagSample
from streams.transport.kafka.records import Assignment, Record

SLOW_SECONDS = 5.0
"""A partition counts as slow for this many seconds after a pause."""


@dataclass(slots=True, eq=False)
class PartitionState:
    """The state of one assignment in the poll thread. Only that thread writes it."""

    assignment: Assignment
    group: Group
    start: int | None = None
    """The first offset to read, if the group had no committed offset. It is committed, so that the lag is known."""
    committed: int | None = None
    """The offset that the broker has confirmed."""
    position: int | None = None
    """The next offset to read when nothing was unsettled. It is after control records, which are never delivered."""
    last: int = -1
    """The offset of the last record that was posted to the event loop."""
    posted: int = 0
    """How many records were posted to the event loop."""
    probe: bool = False
    """True: commit even if nothing changed. Kafka's answer shows whether the topic may be read again."""
    paused: bool = False
    paused_at: float = -SLOW_SECONDS
    end: int | None = None
    """The last known end offset of the log."""

    @property
    def key(self) -> tuple[str, int]:
        """The topic and the partition number."""
        return self.assignment.topic, self.assignment.partition

    @property
    def outstanding(self) -> int:
        """The number of records that were posted to the event loop and are not settled."""
        return self.posted - self.assignment.settled

    def post(self, records: Sequence[Record]) -> None:
        """Take note of records that are posted to the event loop now."""
        self.posted += len(records)
        self.last = records[-1].offset
        if self.start is None and self.committed is None:
            self.start = self.assignment.start = records[0].offset

    def is_full(self) -> bool:
        """Return True when the partition must be paused."""
        return not self.paused and self.outstanding > self.group.high

    def has_room(self) -> bool:
        """Return True when the partition can be resumed."""
        return self.paused and self.outstanding < self.group.low

    def pause(self, now: float) -> None:
        """Record that the partition was paused."""
        self.paused = True
        self.paused_at = now

    def was_slow(self, now: float) -> bool:
        """Return True shortly after a pause. Waiting for a slow partition would delay the others."""
        return now < self.paused_at + SLOW_SECONDS

    def was_paused_for(self, now: float, seconds: float) -> bool:
        """Return True if the partition has been paused for at least `seconds`."""
        return self.paused and now - self.paused_at >= seconds

    def offset_to_commit(self) -> int | None:
        """Return the offset to commit, or None if the broker already has it."""
        known = self.assignment.committable, self.position, self.start
        position = max((offset for offset in known if offset is not None), default=None)
        if self.probe and position is None:
            position = self.committed
        return None if position == self.committed and not self.probe else position

    def has_unread(self) -> bool:
        """Return whether the log goes on after everything that was read, as far as is known."""
        known = self.last + 1, self.position or 0, self.committed or 0, self.start or 0
        return self.end is not None and self.end > max(known)

    def lag(self) -> LagSample | None:
        """Return the lag, or None until both offsets are known."""
        current = self.committed if self.committed is not None else self.start
        if current is None or self.end is None:
            return None
        return LagSample(self.group.group_id, *self.key, current, self.end, max(0, self.end - current))


def oldest_unsettled(states: Iterable[PartitionState]) -> dict[str, int | None]:
    """Return `GroupActivity.oldest_unsettled` of these partitions. Call it on the event loop's thread."""
    held: dict[str, list[int]] = {}
    unknown: set[str] = set()
    for state in states:
        topic, timestamp = state.assignment.topic, state.assignment.holder_timestamp
        timestamps = held.setdefault(topic, [])
        if timestamp is not None:
            timestamps.append(timestamp)
        elif state.has_unread():
            unknown.add(topic)
    return {topic: min(found, default=None) for topic, found in held.items() if found or topic not in unknown}
