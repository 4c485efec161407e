"""The times of event ids for which the ledger can have rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from streams.delivery.errors import Reason

FUTURE_LIMIT = timedelta(days=1)
"""How far the time of an event id may be in the future. The ledger has partitions for at least that long."""
# RFC 9562, figure 11: 48 bits of milliseconds, then four of the version, are the highest of the 128.
_TIME_BITS, _VERSION_BITS, _UUID_VERSION = 80, 76, 7


@dataclass(frozen=True, slots=True)
class IdWindow:
    """The accepted times of event ids, ms since the epoch: within the ledger's retention, not far in the future."""

    oldest: int
    newest: int
    days: int

    @classmethod
    def at(cls, now: datetime, retention_days: int) -> "IdWindow":
        """Return the window at a time. It starts at midnight UTC, since the ledger is partitioned by day."""
        first_day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=retention_days)
        return cls(milliseconds(first_day), milliseconds(now + FUTURE_LIMIT), retention_days)

    def rejection(self, event_id: UUID) -> tuple[Reason, str] | None:
        """Return why the ledger cannot have a row of this event id; None: it can."""
        number = event_id.int
        made_at = number >> _TIME_BITS
        if number >> _VERSION_BITS & 0xF != _UUID_VERSION or made_at > self.newest:
            return Reason.BAD_EVENT_ID, "the event id must be a UUIDv7 whose time is not in the future"
        if made_at < self.oldest:
            return Reason.EXPIRED, f"the event is older than the ledger's {self.days} days"
        return None


def milliseconds(moment: datetime) -> int:
    """Return a time in ms since the epoch."""
    return round(moment.timestamp() * 1000)
