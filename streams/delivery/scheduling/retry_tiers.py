"""Which retry tier a delivery waits in, and what a record in a tier does next. Pure, without I/O."""

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
    """Of each delay, in the same order."""

    @classmethod
    def of(cls, catalogue: Catalogue, pool: PoolName) -> "RetryTiers":
        """Return the tiers that the settings give a pool."""
        tiers = catalogue.tiers(pool)
        return cls(pool, tuple(tiers.values()), tuple(tiers))

    @property
    def first(self) -> str:
        """The topic of delay zero."""
        return self.topics[0]

    def topic_for(self, remaining: float) -> str:
        """Return the topic of the longest tier that is not longer than what remains (seconds)."""
        return self.topics[self.delays.index(tier_for(remaining, self.delays))]


def tier_for(remaining: float, delays: Sequence[float]) -> float:
    """The longest tier not longer than what remains (seconds); `delays` ascend from 0."""
    return delays[max(0, bisect.bisect_right(delays, remaining) - 1)]


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay in the heap until then (ms since the epoch), then ask again."""

    until: int


@dataclass(frozen=True, slots=True)
class Hop:
    """Go on to the tier of this delay (seconds): the offset here must not wait for the rest."""

    delay: float


@dataclass(frozen=True, slots=True)
class Run:
    """Due."""


def next_move(now: int, due_at: int, arrived_at: int, tier_delay: float, delays: Sequence[float]) -> Wait | Hop | Run:
    """What a record in a tier does now; times in ms since the epoch, delays in seconds, `delays` ascend from 0.

    It rests in its tier for the tier's delay, then hops while a tier fits into what remains. A remainder shorter
    than the shortest real tier, and jitter, are waited out in place, so the due time is met exactly.
    """
    if due_at <= now:
        return Run()
    rest_over = arrived_at + round(tier_delay * 1000)
    if now < rest_over:
        return Wait(min(due_at, rest_over))
    hop = tier_for((due_at - now) / 1000, delays)
    return Hop(hop) if hop > 0 else Wait(due_at)
