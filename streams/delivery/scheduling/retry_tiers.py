"""Retry tiers: the tier for a delay, and the next step of a record in a tier. No I/O."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from streams.settings import PoolName
from streams.topics import Catalogue


@dataclass(frozen=True, slots=True)
class RetryTiers:
    """The retry tiers of one pool: their delays in seconds, ascending from 0, and their topics."""

    pool: PoolName
    delays: tuple[float, ...]
    topics: tuple[str, ...]
    """The topic of each delay, in the same order."""

    @classmethod
    def of(cls, catalogue: Catalogue, pool: PoolName) -> "RetryTiers":
        """Return the tiers of a pool from the settings."""
        tiers = catalogue.tiers(pool)
        return cls(pool, tuple(tiers.values()), tuple(tiers))

    @property
    def first(self) -> str:
        """The topic of delay zero."""
        return self.topics[0]

    def topic_for(self, remaining: float) -> str:
        """Return the topic of the longest tier whose delay is at most `remaining` seconds."""
        return self.topics[self.delays.index(tier_for(remaining, self.delays))]


def tier_for(remaining: float, delays: Sequence[float]) -> float:
    """Return the longest delay that is at most `remaining` seconds; `delays` ascend from 0."""
    return delays[max(0, bisect.bisect_right(delays, remaining) - 1)]


FIRST_REST, LONGEST_REST = 15.0, 600.0
"""Seconds that a blocked delivery rests in a tier, at first and at most; the rest doubles with each deferral."""
SHORTEST_PART = 10
"""A tier is used for a rest if its delay is at least the rest divided by this number."""


def rest_of_deferral(deferrals: int, delays: Sequence[float]) -> float:
    """Return the seconds that a blocked delivery rests in the longest tier that is not longer.

    If a tier has about that delay, the rest is this delay. So the delivery leaves the tier in the order of its arrival,
    and the retries behind it in a full partition are not late.

    Args:
        deferrals: How often it was deferred before.
        delays: The delays of all tiers in seconds, ascending from 0.
    """
    rest = min(LONGEST_REST, FIRST_REST * 2 ** min(deferrals, 16))
    delay = tier_for(rest, delays)
    return delay if delay * SHORTEST_PART >= rest else rest


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait in the delay queue until this time (ms since the epoch), then decide again."""

    until: int


@dataclass(frozen=True, slots=True)
class Hop:
    """Move to the tier of this delay (seconds), so that the offset here can be committed."""

    delay: float


@dataclass(frozen=True, slots=True)
class Run:
    """Run now: the delivery is due."""


def next_move(now: int, due_at: int, arrived_at: int, tier_delay: float, delays: Sequence[float]) -> Wait | Hop | Run:
    """Decide the next step of a record in a tier.

    It waits in its tier for the tier's delay, then moves to the longest tier that fits the remaining time. If only tier
    zero fits, it waits here, so that it runs exactly when it is due.

    Args:
        now: ms since the epoch.
        due_at: When the delivery is due, ms since the epoch.
        arrived_at: Timestamp of the record, ms since the epoch.
        tier_delay: The delay of its tier in seconds.
        delays: The delays of all tiers in seconds, ascending from 0.
    """
    if due_at <= now:
        return Run()
    tier_ends = arrived_at + round(tier_delay * 1000)
    if now < tier_ends:
        return Wait(min(due_at, tier_ends))
    hop = tier_for((due_at - now) / 1000, delays)
    return Hop(hop) if hop > 0 else Wait(due_at)
