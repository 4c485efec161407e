"""Calls of librdkafka's threads on the event loop."""

import asyncio
import threading
from collections.abc import Coroutine

import pytest

from streams.transport.kafka.thread_bridge import ThreadBridge


def a_bridge() -> tuple[ThreadBridge, "asyncio.Future[BaseException]"]:
    """A bridge to this loop, and the first failure that it is told of."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[BaseException] = loop.create_future()
    return ThreadBridge(loop, failed.set_result), failed


async def test_a_call_that_raises_is_not_only_logged() -> None:
    """Records would wait for ever for what the loop did not take."""
    bridge, failed = a_bridge()

    def break_down() -> None:
        raise KeyError("no such partition")

    await asyncio.to_thread(bridge.post, break_down)

    assert isinstance(await asyncio.wait_for(failed, 5), KeyError)


async def test_calls_of_a_thread_run_on_the_loop_in_their_order() -> None:
    bridge, _ = a_bridge()
    ran: asyncio.Queue[tuple[int, threading.Thread]] = asyncio.Queue()

    def post_all() -> None:
        for number in range(100):
            bridge.post(lambda number=number: ran.put_nowait((number, threading.current_thread())))

    await asyncio.to_thread(post_all)

    got = [await asyncio.wait_for(ran.get(), 5) for _ in range(100)]
    assert got == [(number, threading.current_thread()) for number in range(100)]


def test_a_loop_that_is_closed_needs_nothing_any_more() -> None:
    """The thread of a client may outlive the loop by a moment, and its last report must not end in an error."""
    loop = asyncio.new_event_loop()
    loop.close()
    told: list[BaseException] = []
    ThreadBridge(loop, told.append).post(pytest.fail, "it ran")
    assert told == []


async def wait_from_thread(bridge: ThreadBridge, work: Coroutine[object, object, None], bound: float) -> bool:
    return await asyncio.to_thread(bridge.wait, work, bound)


async def test_a_thread_waits_for_work_of_the_loop() -> None:
    bridge, _ = a_bridge()
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    assert await wait_from_thread(bridge, work(), 5)
    assert done.is_set()


async def test_work_that_takes_too_long_is_cancelled_and_the_thread_goes_on() -> None:
    bridge, _ = a_bridge()
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert not await wait_from_thread(bridge, work(), 0.01)
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_what_the_work_raises_reaches_the_thread() -> None:
    bridge, failed = a_bridge()

    async def work() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await wait_from_thread(bridge, work(), 5)
    assert not failed.done()
