"""When and whether to run again, as values: computed once, without I/O."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from schemas import Event
from streams.delivery.errors import Permanent, Reason, Retry, SoftTimeLimitExceeded, TimeLimitExceeded
from streams.delivery.handler import Handler


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt, not before `due_at` (ms since the epoch)."""

    due_at: int


@dataclass(frozen=True, slots=True)
class Dead:
    """No other attempt."""

    reason: Reason


def decide(handler: Handler[Event], run: int, error: BaseException, now: int, spread: float) -> Again | Dead:
    """What follows the failure of the run of that number (1 is the first).

    `now` is in ms since the epoch; `spread` in [0, 1) places the delay within the policy's jitter.
    """
    if isinstance(error, Permanent):
        return Dead(Reason.PERMANENT)
    if isinstance(error, handler.fatal):
        return Dead(Reason.FATAL)
    delay = handler.retry.delay(run, spread)
    if delay is None:
        if isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded):
            return Dead(Reason.TIME_LIMIT)
        return Dead(error.reason if isinstance(error, Retry) else Reason.EXHAUSTED)
    if isinstance(error, Retry) and error.after is not None:
        delay = max(0.0, error.after)
    return Again(now + round(delay * 1000))


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
