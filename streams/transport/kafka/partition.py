"""What the poll thread knows of a partition that it holds: when to pause it, what to commit. Pure."""

from dataclasses import dataclass

from streams.transport.kafka.group import Group, LagSample
from streams.transport.kafka.records import Assignment

SLOW_MEMORY = 5.0
"""Seconds for which a partition that had to be paused counts as slow."""


@dataclass(slots=True, eq=False)
class PartitionState:
    """One assignment as the poll thread sees it. Only that thread writes here."""

    assignment: Assignment
    group: Group
    start: int | None = None
    """Where reading began, if the group had no committed offset: committed too, or no lag could be shown."""
    committed: int | None = None
    """The offset that the broker has confirmed."""
    fed: int = 0
    """Records given to the event loop."""
    paused: bool = False
    paused_at: float = -SLOW_MEMORY
    end: int | None = None
    """The log's end when last seen."""

    @property
    def key(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.assignment.topic, self.assignment.partition

    @property
    def outstanding(self) -> int:
        """Records on their way to the loop or handed over, and not settled."""
        return self.fed - self.assignment.settled

    def is_full(self) -> bool:
        """True when it must take a rest."""
        return not self.paused and self.outstanding > self.group.high

    def has_room(self) -> bool:
        """True when its rest may end."""
        return self.paused and self.outstanding < self.group.low

    def pause(self, now: float) -> None:
        """Note that it rests."""
        self.paused = True
        self.paused_at = now

    def was_slow(self, now: float) -> bool:
        """True a short while after a pause: waiting for it to catch up would hold the others."""
        return now < self.paused_at + SLOW_MEMORY

    def has_rested(self, now: float, seconds: float) -> bool:
        """True once it has been paused for so long."""
        return self.paused and now - self.paused_at >= seconds

    def to_commit(self) -> int | None:
        """The offset that the broker should get; None where it has it already."""
        position = self.assignment.committable
        if position is None:
            position = self.start
        return None if position == self.committed else position

    def lag(self) -> LagSample | None:
        """How far behind the group is; None until both ends are known."""
        current = self.committed if self.committed is not None else self.start
        if current is None or self.end is None:
            return None
        return LagSample(self.group.group_id, *self.key, current, self.end, max(0, self.end - current))
