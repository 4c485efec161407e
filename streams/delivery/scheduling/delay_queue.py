"""Records of retry tiers that are not due yet: a heap by the time at which each is to be looked at."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from streams.delivery.delivery import Delivery, due_at_of, now_ms
from streams.delivery.scheduling.retry_tiers import Hop, Run, Wait, next_move
from streams.transport.kafka.records import Assignment

LOOK = 1.0
"""Seconds between looks at the clock while something waits."""
STEP = 1.0
"""Seconds by which a clock that has been ahead of the monotonic one was stepped, not slewed."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that rests in a tier of `tier_delay` seconds.

    Its time goes on by the monotonic clock from that of its arrival, which is not before that of its record: a clock
    that is stepped back, or is behind that of the worker which sent the record, makes nothing late by the difference.
    """

    delivery: Delivery
    tier_delay: float
    arrival: int
    """ms since the epoch."""
    since: float
    """The same moment by the monotonic clock, seconds."""

    def now(self) -> int:
        """The time that holds for it, ms since the epoch; never behind this process's clock."""
        return max(now_ms(), self.arrival + int((time.monotonic() - self.since) * 1000))

    def at(self, moment: int) -> float:
        """When it is that time (ms since the epoch) for it, by the monotonic clock."""
        return self.since + (moment - self.arrival) / 1000


class DelayQueue:
    """Wakes each delivery when it is due, or when it has to hop on to another tier.

    Bounded by the transport, which pauses a tier's partition when too many of its records are unsettled.
    """

    def __init__(
        self, delays: tuple[float, ...], run: Callable[[Delivery], None], hop: Callable[[Delivery, float], None]
    ) -> None:
        self._delays = delays
        self._run = run
        self._hop = hop
        self._heap: list[tuple[float, int, Waiting]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._offset = _offset()

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, delivery: Delivery, tier_delay: float) -> None:
        """Run it, send it on, or keep it until its time."""
        arrival = max(now_ms(), delivery.record.timestamp)
        self._place(Waiting(delivery, tier_delay, arrival, time.monotonic()))
        self._arm()

    def discard(self, assignments: set[Assignment]) -> None:
        """Forget the deliveries of revoked partitions."""
        self._heap = [entry for entry in self._heap if entry[2].delivery.assignment not in assignments]
        heapq.heapify(self._heap)
        self._arm()

    def close(self) -> None:
        """Wake nothing any more."""
        self._heap.clear()
        self._arm()

    def _place(self, waiting: Waiting) -> None:
        record = waiting.delivery.record
        move = next_move(waiting.now(), due_at_of(record), record.timestamp, waiting.tier_delay, self._delays)
        match move:
            case Run():
                self._run(waiting.delivery)
            case Hop(delay):
                self._hop(waiting.delivery, delay)
            case Wait(until):
                heapq.heappush(self._heap, (waiting.at(until), next(self._order), waiting))

    def _follow_the_clock(self) -> None:
        """After a step forward what came before it counts anew: its arrival was told by a clock that was behind."""
        offset, before = _offset(), self._offset
        self._offset = offset
        if offset - before <= STEP:
            return
        now = time.monotonic()
        waiting, self._heap = self._heap, []
        for _, _, one in waiting:
            self._place(Waiting(one.delivery, one.tier_delay, one.now(), now))

    def _wake(self) -> None:
        self._follow_the_clock()
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            _, _, waiting = heapq.heappop(self._heap)
            self._place(waiting)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            delay = min(LOOK, max(0.0, self._heap[0][0] - time.monotonic()))
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)


def _offset() -> float:
    """How far the clock is ahead of the monotonic one, in seconds."""
    return now_ms() / 1000 - time.monotonic()
