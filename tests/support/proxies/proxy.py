"""Runs a proxy in the background: a server on an event loop in its own thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

CHUNK = 65_536


@contextmanager
def serving(listen: Callable[[], Awaitable[asyncio.Server]]) -> Iterator[int]:
    """Run the server that `listen` opens for the duration of the block. Yields its port."""
    loop = asyncio.new_event_loop()
    ready, ended, ports = threading.Event(), asyncio.Event(), []

    async def run() -> None:
        server = await listen()
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await ended.wait()
        server.close()
        await _end_others()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


async def _end_others() -> None:
    """Cancel every other task of this loop and wait for them."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
