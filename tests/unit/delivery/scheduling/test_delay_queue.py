"""The delay queue measures time with the monotonic clock, so clock steps do not delay retries."""

import asyncio

import pytest

from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.scheduling import arrival, delay_queue
from streams.delivery.scheduling.delay_queue import DelayQueue
from tests.support.factories import a_delivery


class Clock:
    """The wall clock of the queue; `off` is its difference to the real clock in ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = 0
        for module in (arrival, delay_queue):
            monkeypatch.setattr(module, "now_ms", self.now)

    def now(self) -> int:
        """Return the time of the queue, ms since the epoch."""
        return now_ms() + self.off


def due_in(clock: Clock, milliseconds: int) -> Delivery:
    """Return a retry that was produced now and is due in this many ms."""
    now = clock.now()
    return a_delivery("d1", timestamp=now, headers=(("streams-due-at", str(now + milliseconds).encode()),))


@pytest.mark.requirement("Faults and operations", "the clock stepping back, both protocols")
@pytest.mark.parametrize("step", [-3_600_000, 0, 50])
async def test_a_step_of_the_clock_makes_nothing_wait_longer(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    clock, ran = Clock(monkeypatch), asyncio.Event()
    queue = DelayQueue((0.0, 10.0), lambda _delivery: ran.set(), lambda _delivery, _delay: None)
    began = asyncio.get_running_loop().time()
    queue.put(due_in(clock, 200), 0.0)
    clock.off = step
    async with asyncio.timeout(2):
        await ran.wait()
    assert asyncio.get_running_loop().time() - began >= 0.199


async def test_a_record_from_a_clock_that_is_ahead_waits_no_longer_than_its_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, ran = Clock(monkeypatch), asyncio.Event()
    queue = DelayQueue((0.0, 10.0), lambda _delivery: ran.set(), lambda _delivery, _delay: None)
    clock.off = 3_600_000
    ahead = due_in(clock, 200)
    clock.off = 0
    queue.put(ahead, 0.0)
    assert not ran.is_set()
    async with asyncio.timeout(2):
        await ran.wait()


async def test_retries_that_arrived_with_a_slow_clock_wait_no_longer_after_its_correction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record has moved to a long tier, because by the slow clock an hour was left."""
    clock, ran = Clock(monkeypatch), asyncio.Event()
    clock.off = -3_600_000
    queue = DelayQueue((0.0, 600.0), lambda _delivery: ran.set(), lambda _delivery, _delay: None)
    due_at = now_ms() + 200
    headers = (("streams-due-at", str(due_at).encode()),)
    queue.put(a_delivery("d1", timestamp=clock.now(), headers=headers), 600.0)
    queue.put(a_delivery("d2", timestamp=clock.now(), headers=headers), 600.0)
    await asyncio.sleep(0)
    assert not ran.is_set()
    clock.off = 0
    async with asyncio.timeout(3):
        await ran.wait()
    assert now_ms() >= due_at
