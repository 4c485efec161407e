"""The delay queue: retries that are not due yet, in a heap ordered by the time of their next check."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from streams import headers
from streams.delivery.admission.admission import Resumption
from streams.delivery.delivery import Delivery, due_at_of, now_ms
from streams.delivery.scheduling.arrival import WAKE_INTERVAL, Arrival
from streams.delivery.scheduling.retry_tiers import Hop, Run, Wait, next_move
from streams.transport.kafka.records import Assignment

CLOCK_STEP = 1.0
"""Seconds: a larger change of the wall clock against the monotonic clock is a step, not a slew."""


@dataclass(frozen=True, slots=True)
class WaitingRetry:
    """A delivery that waits in a tier of `tier_delay` seconds."""

    delivery: Delivery
    tier_delay: float
    arrival: Arrival

    @property
    def is_deferred(self) -> bool:
        """Whether it waits for the end of a pause or an outage."""
        return headers.last(self.delivery.record.headers, headers.DEFERRALS) is not None


class DelayQueue:
    """Runs each delivery when it is due, or forwards it to another tier.

    Backpressure limits its size: the transport pauses a tier's partition with too many unsettled records.
    """

    def __init__(
        self,
        delays: tuple[float, ...],
        run: Callable[[Delivery], None],
        hop: Callable[[Delivery, float], None],
        resumption: Callable[[Delivery], Resumption] = lambda _: "wait",
    ) -> None:
        """Create an empty queue.

        Args:
            delays: The delays of the retry tiers in seconds, ascending from 0.
            run: Called with a delivery that is due.
            hop: Called with a delivery and the delay of the tier (seconds) that it moves to.
            resumption: Says whether deferred deliveries like this one may run before their time.
        """
        self._delays = delays
        self._run = run
        self._hop = hop
        self._resumption = resumption
        self._deferred: set[int] = set()
        """The numbers of the deferred deliveries in the heap."""
        self._heap: list[tuple[float, int, WaitingRetry]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._clock_offset = _clock_offset()

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, delivery: Delivery, tier_delay: float) -> None:
        """Run a delivery, forward it, or keep it until it is due. `tier_delay` is that of its tier, in seconds."""
        self._dispatch(WaitingRetry(delivery, tier_delay, Arrival.of(delivery.record)))
        self._set_timer()

    def release(self) -> None:
        """Run the deferred deliveries whose pause or outage is over, and one probe per handler where that is due.

        They run in the order in which they came, so the probe is the one that waits longest.
        """
        if not self._deferred:
            return
        found: dict[str, Resumption] = {}
        resumed = []
        # Only deferred deliveries need an order. There are few beside the retries that wait for their time.
        for entry in sorted((one for one in self._heap if one[1] in self._deferred), key=_number):
            delivery = entry[2].delivery
            handler = delivery.handler.name
            state = found.get(handler)
            if state is None:
                state = found[handler] = self._resumption(delivery)
            if state != "wait":
                resumed.append(entry)
                if state == "probe":
                    found[handler] = "wait"
        if not resumed:
            return
        leaving = {number for _, number, _ in resumed}
        self._replace([entry for entry in self._heap if entry[1] not in leaving])
        for _, _, waiting in resumed:
            self._run(waiting.delivery)

    def discard(self, assignments: set[Assignment]) -> None:
        """Discard the deliveries of revoked partitions."""
        self._replace([entry for entry in self._heap if entry[2].delivery.assignment not in assignments])

    def close(self) -> None:
        """Discard all deliveries."""
        self._replace([])

    def _replace(self, heap: list[tuple[float, int, WaitingRetry]]) -> None:
        self._heap = heap
        self._deferred.intersection_update([number for _, number, _ in heap])
        heapq.heapify(self._heap)
        self._set_timer()

    def _dispatch(self, waiting: WaitingRetry) -> None:
        record, is_deferred = waiting.delivery.record, waiting.is_deferred
        now, due_at = waiting.arrival.now(), due_at_of(record)
        if not is_deferred:
            move = next_move(now, due_at, record.timestamp, waiting.tier_delay, self._delays)
        elif due_at <= now or self._resumption(waiting.delivery) == "run":
            move = Run()
        else:
            move = Wait(due_at)
        match move:
            case Run():
                self._run(waiting.delivery)
            case Hop(delay):
                self._hop(waiting.delivery, delay)
            case Wait(until):
                number = next(self._order)
                heapq.heappush(self._heap, (waiting.arrival.monotonic_at(until), number, waiting))
                if is_deferred:
                    self._deferred.add(number)

    def _adjust_to_clock_step(self) -> None:
        """Compute the arrivals again after the wall clock was stepped forward: it was behind when they came."""
        offset, before = _clock_offset(), self._clock_offset
        self._clock_offset = offset
        if offset - before <= CLOCK_STEP:
            return
        now = time.monotonic()
        waiting, self._heap = self._heap, []
        self._deferred.clear()
        for _, _, one in waiting:
            self._dispatch(WaitingRetry(one.delivery, one.tier_delay, Arrival(one.arrival.now(), now)))

    def _wake(self) -> None:
        self._adjust_to_clock_step()
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            _, number, waiting = heapq.heappop(self._heap)
            self._deferred.discard(number)
            self._dispatch(waiting)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            delay = min(WAKE_INTERVAL, max(0.0, self._heap[0][0] - time.monotonic()))
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)


def _number(entry: tuple[float, int, WaitingRetry]) -> int:
    return entry[1]


def _clock_offset() -> float:
    """Return the difference between the wall clock and the monotonic clock, in seconds."""
    return now_ms() / 1000 - time.monotonic()
