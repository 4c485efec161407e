"""The room of records that are not due yet keeps their time by a clock that never goes back."""

import asyncio

import pytest

from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.scheduling import delay_queue
from streams.delivery.scheduling.delay_queue import DelayQueue
from tests.support.factories import a_delivery


class Clock:
    """The wall clock that the room sees, off from the real one by so many ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = 0
        monkeypatch.setattr(delay_queue, "now_ms", self.now)

    def now(self) -> int:
        """What the room takes for the time, ms since the epoch."""
        return now_ms() + self.off


def due_in(clock: Clock, milliseconds: int) -> Delivery:
    """A delivery of a tier's record that was produced now."""
    now = clock.now()
    return a_delivery("d1", timestamp=now, headers=(("streams-due-at", str(now + milliseconds).encode()),))


@pytest.mark.parametrize("step", [-3_600_000, 0, 50])
async def test_a_step_of_the_clock_makes_nothing_wait_longer(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    clock, ran = Clock(monkeypatch), asyncio.Event()
    room = DelayQueue((0.0, 10.0), lambda _delivery: ran.set(), lambda _delivery, _delay: None)
    began = asyncio.get_running_loop().time()
    room.put(due_in(clock, 200), 0.0)
    clock.off = step
    async with asyncio.timeout(2):
        await ran.wait()
    assert asyncio.get_running_loop().time() - began >= 0.199


async def test_a_record_from_a_clock_that_is_ahead_waits_no_longer_than_it_was_meant_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, ran = Clock(monkeypatch), asyncio.Event()
    room = DelayQueue((0.0, 10.0), lambda _delivery: ran.set(), lambda _delivery, _delay: None)
    clock.off = 3_600_000
    ahead = due_in(clock, 200)
    clock.off = 0
    room.put(ahead, 0.0)
    assert not ran.is_set()
    async with asyncio.timeout(2):
        await ran.wait()


async def test_what_came_while_the_clock_was_behind_waits_no_longer_once_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A record that has hopped to a long tier meanwhile: an hour was left by the clock that was behind."""
    clock, ran = Clock(monkeypatch), asyncio.Event()
    clock.off = -3_600_000
    room = DelayQueue((0.0, 600.0), lambda _delivery: ran.set(), lambda _delivery, _delay: None)
    due_at = now_ms() + 200
    headers = (("streams-due-at", str(due_at).encode()),)
    room.put(a_delivery("d1", timestamp=clock.now(), headers=headers), 600.0)
    room.put(a_delivery("d2", timestamp=clock.now(), headers=headers), 600.0)
    await asyncio.sleep(0)
    assert not ran.is_set()
    clock.off = 0
    async with asyncio.timeout(3):
        await ran.wait()
    assert now_ms() >= due_at
