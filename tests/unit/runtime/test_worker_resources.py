"""A worker whose start fails or is cancelled leaves no task, thread, process or connection."""

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import cast

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from streams.codec import build_codec
from streams.publishing.outbox.relay import Relay
from streams.runtime.background_tasks import start_tasks
from streams.runtime.resources import WorkerConfig
from streams.runtime.worker import Worker
from streams.settings import Settings
from streams.topics import POOLS
from streams.transport.kafka.producer import RecordProducer
from tests.support.factories import CATALOGUE, a_handler


def a_worker(
    database_port: int,
    services: Callable[[], list[object]] = list,
    crash: Callable[[BaseException], None] = lambda _error: None,
) -> Worker:
    settings = Settings(
        database_url=f"postgresql://me@127.0.0.1:{database_port}/x",
        compute_processes=1,
    )
    return Worker(
        WorkerConfig(
            settings=settings,
            catalogue=CATALOGUE,
            codec=build_codec(settings, CATALOGUE, blocking=False),
            handlers=[a_handler()],
            limits={},
            pools=POOLS,
            producer=RecordProducer(settings),
            services=services,
            preload=(),
            crash=crash,
        )
    )


def left() -> tuple[set[object], set[threading.Thread], set[int]]:
    """The tasks, the threads (without those of the loop's executor), and the fork servers with their processes."""
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
    # Other children are the test's servers, whose own processes come and go.
    servers = [one for one in psutil.Process().children() if _is_fork_server(one)]
    processes = {one.pid for server in servers for one in (server, *server.children(recursive=True))}
    return set(asyncio.all_tasks()), threads, processes


def added_since(before: tuple[set[object], set[threading.Thread], set[int]]) -> list[object]:
    """Return what is left now and was not there before. A server of an earlier test may end meanwhile."""
    tasks, threads, processes = left()
    return [*(tasks - before[0]), *(threads - before[1]), *(processes - before[2])]


def _is_fork_server(process: psutil.Process) -> bool:
    try:
        return "process_pool" in " ".join(process.cmdline())
    except psutil.Error:
        return False  # it has ended


async def test_a_start_without_a_database_leaves_nothing() -> None:
    before = left()
    failures: list[BaseException] = []
    worker = a_worker(1, crash=failures.append)
    with pytest.raises(OperationalError):
        await worker.start()
    assert added_since(before) == []
    assert not failures, "only the start reports the exception"
    assert worker.engines == {}
    assert await worker.database_error() == "not connected yet"
    await worker.stop()  # Faust stops an app whose start has failed, too.
    assert added_since(before) == []


async def test_a_cancelled_start_leaves_nothing() -> None:
    """SIGTERM comes while the database does not answer: its connection is closed as well."""
    before = left()
    connected, closed = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        while await reader.read(1024):
            pass
        writer.close()
        closed.set()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        worker = a_worker(server.sockets[0].getsockname()[1])
        starting = asyncio.create_task(worker.start())
        async with asyncio.timeout(20):
            await connected.wait()
            await worker.stop()
            starting.cancel()
            await asyncio.wait([starting])
            assert starting.cancelled()
            del starting
            gc.collect()  # SQLAlchemy has dropped the connection that was being made, in a reference cycle
            await closed.wait()
    await server.wait_closed()
    assert added_since(before) == []


class IdleRelay:
    """A relay that has nothing to send."""

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()


@pytest.mark.parametrize("at", ["stop", "work"])
async def test_only_a_task_that_fails_by_itself_ends_the_process(at: str) -> None:
    """A driver may raise an error of its own when its call is cancelled at the end."""
    failures: list[BaseException] = []
    failed = asyncio.Event()

    def crash(error: BaseException) -> None:
        failures.append(error)
        failed.set()

    async def fail() -> None:
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01 if at == "work" else None)
        raise AssertionError

    async with AsyncExitStack() as stack:
        start_tasks(stack, cast("Relay", IdleRelay()), [fail()], crash=crash, stop_timeout=5.0)
        if at == "work":
            await asyncio.wait_for(failed.wait(), 5)
        await asyncio.sleep(0)
    assert len(failures) == (at == "work")
