"""CPU-bound code in processes that can be killed: `await work.compute(function, *args)`."""

import asyncio
import ctypes
import multiprocessing
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

from streams.delivery.errors import ComputeCrashedError, OutOfMemoryError

T = TypeVar("T")
TASKS_PER_PROCESS = 50
"""A process is replaced after so many tasks, so that what its libraries leak stays bounded."""
_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY = 86
"""Exit code of a process that ran out of it."""
_KEPT_AT_MOST = 3 << 18
"""Bytes a MiB that it may take, which a process may keep from one task to the next: three quarters."""
_WORN_OUT = 87
"""Exit code of a process that keeps too much memory between two tasks: another one does what was asked of it."""


class ComputePool:
    """A few processes, ended with their parent.

    They are forked from a small server process that has no threads (never from a process under the Kafka client's),
    so a killed one is replaced in milliseconds. `preload` names the modules that the server imports for all of them.
    """

    def __init__(self, processes: int, preload: Sequence[str] = (), *, memory: int | None = None) -> None:
        """Begin to start them; nobody waits for that but the first call.

        `memory` is what the code may take in each process, beside what is loaded, in MiB; None: no limit.
        """
        self._memory = memory
        context = multiprocessing.get_context("forkserver")
        # This module too: else each process would import it, and all that it stands on, when it starts.
        context.set_forkserver_preload(["__main__", __name__, *preload])
        self._pool = ProcessPool(
            max_workers=processes,
            max_tasks=TASKS_PER_PROCESS,
            initializer=_prepare,
            initargs=[memory],
            context=context,
        )
        self._started: Future[None] = Future()
        self._started.set_running_or_notify_cancel()  # so that no waiter's cancellation is the start's
        threading.Thread(target=self._start, args=(processes,), name="compute-start", daemon=True).start()

    def _start(self, processes: int) -> None:
        """In a thread, for it waits until the server process has loaded its modules, which takes seconds."""
        try:
            for _ in range(processes):
                self._pool.schedule(_warm_up)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits, which the worker does
            self._started.set_exception(error)
        else:
            self._started.set_result(None)

    async def started(self) -> None:
        """Return once calls need not wait for the processes; raises what keeps them from starting."""
        await asyncio.wrap_future(self._started)

    async def run(
        self, function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object], seconds: float
    ) -> T:
        """What the function returns or raises. The process is killed after `seconds` or on cancellation.

        Raises TimeoutError past the time, OutOfMemoryError past the memory, ComputeCrashedError where the process
        died under the function.
        """
        await self.started()
        future = self._pool.schedule(_run, args=(self._memory, function, args, kwargs), timeout=seconds)
        try:
            result: T = await asyncio.wrap_future(future)
        except ProcessExpired as error:
            if error.exitcode == _WORN_OUT:
                return await self.run(function, args, kwargs, seconds)
            if error.exitcode == _OUT_OF_MEMORY:
                message = f"{function.__name__} needs more than {self._memory} MiB of memory (STREAMS_COMPUTE_MEMORY)"
                raise OutOfMemoryError(message) from error
            message = f"the process that ran {function.__name__} died with exit code {error.exitcode}"
            raise ComputeCrashedError(message) from error
        return result

    def close(self) -> None:
        """Kill what runs and end the processes. Blocks, also until they have started."""
        futures.wait([self._started])
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble types only what it returns
        self._pool.join()


def _warm_up() -> None:
    """Nothing: the processes are started by their first task, which should not be a delivery."""


def _run(memory: int | None, function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
    """The function's result. A process that ran out of memory ends: what it holds would fail the next ones, too.

    So does one that has kept three quarters of its memory from the tasks before, as soon as another one is asked of it.
    """
    if memory is not None and _loaded() - _at_start > memory * _KEPT_AT_MOST:
        os._exit(_WORN_OUT)
    try:
        return function(*args, **kwargs)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)


_at_start = 0
"""Bytes that this process was forked with."""


def _prepare(memory: int | None) -> None:
    global _at_start  # noqa: PLW0603 - one number of this process, set once
    _die_with_parent()
    _at_start = _loaded()
    if memory is not None:
        # The heap and private mappings; RLIMIT_AS would count the libraries that all processes share, too.
        limit = _at_start + (memory << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _loaded() -> int:
    """Bytes of heap and private mappings of this process; 0 where the kernel does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^VmData:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _die_with_parent() -> None:
    """Ask the kernel to end this process with the server it was forked from, which ends with the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
