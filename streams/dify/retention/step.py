"""One bounded step of a deletion of old data: what it may use, and what it returns."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

STEP_SECONDS = 20.0
"""Seconds of work in one step. The next step is another event, so no step occupies a worker for long."""
_CUTOFF = text("select date_trunc('second', now() at time zone 'UTC') - make_interval(days => :days)")


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The time that a step may still use. It is asked between two batches."""

    ends_at: float
    """By the monotonic clock, in seconds."""

    @property
    def is_spent(self) -> bool:
        """Whether the step must end."""
        return time.monotonic() >= self.ends_at


def start_budget(seconds: float) -> TimeBudget:
    """Return a budget that starts now."""
    return TimeBudget(time.monotonic() + seconds)


class DroppedCollections(NamedTuple):
    """The collections of a dataset whose vectors were deleted."""

    tenant_id: str
    collections: Sequence[str]


@dataclass(slots=True)
class RetentionStep:
    """What one step has done, and where the next one continues."""

    removed: Counter[str] = field(default_factory=Counter)
    """The number of deleted or changed objects, by table or kind."""
    kept: Counter[str] = field(default_factory=Counter)
    """The number of old objects that were left, by the reason."""
    dropped: list[DroppedCollections] = field(default_factory=list)
    cursor: str | None = None
    """None: the run has ended."""


async def cutoff_of(session: AsyncSession, asked: datetime | None, days: int) -> datetime:
    """Return the time (UTC, without a zone, as in the platform's columns) before which data is old.

    It is computed by the clock of the database. What is younger than the setting says is never old, whatever an event
    asks for.

    Args:
        session: the transaction of the step.
        asked: the cutoff of the event; None: the event is the first of its run. Without a zone it is UTC.
        days: the age that the setting says.
    """
    latest: datetime = (await session.execute(_CUTOFF, {"days": days})).scalar_one()
    if asked is None:
        return latest
    return min(asked.astimezone(UTC).replace(tzinfo=None) if asked.tzinfo else asked, latest)
