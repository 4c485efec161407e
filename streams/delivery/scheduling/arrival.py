"""The arrival of a record that waits in a retry tier. Its waiting time follows the monotonic clock."""

import time
from dataclasses import dataclass

from streams.delivery.delivery import now_ms
from streams.transport.kafka.records import Record

WAKE_INTERVAL = 1.0
"""Maximum number of seconds between two checks of the clock while a retry waits."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a record came to a worker.

    That is never before the record's timestamp. So a wall clock that is stepped back, or is behind the clock of the
    sending worker, does not delay the retry.
    """

    at: int
    """ms since the epoch."""
    since: float
    """The same moment by the monotonic clock, in seconds."""

    @classmethod
    def of(cls, record: Record) -> "Arrival":
        """Return the arrival of a record that comes now."""
        return cls(max(now_ms(), record.timestamp), time.monotonic())

    def now(self) -> int:
        """Return the current time for the record, ms since the epoch; never behind the wall clock."""
        return max(now_ms(), self.at + int((time.monotonic() - self.since) * 1000))

    def monotonic_at(self, moment: int) -> float:
        """Return the monotonic time, in seconds, of a moment (ms since the epoch)."""
        return self.since + (moment - self.at) / 1000
