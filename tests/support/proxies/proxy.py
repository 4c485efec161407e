"""Runs a proxy in the background: a server on an event loop in its own thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress

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


async def run_pumps(*pumps: Coroutine[None, None, None], writers: tuple[asyncio.StreamWriter, ...]) -> None:
    """Run pumps until one ends or the proxy does. Then cancel the others and close the connections."""
    tasks = [asyncio.create_task(pump) for pump in pumps]
    try:
        with suppress(asyncio.CancelledError):  # the proxy ends
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.close()


async def _end_others() -> None:
    """Cancel every other task of this loop and wait for them."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
