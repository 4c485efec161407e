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
"""A process is replaced after this number of tasks, which bounds the memory that its libraries leak."""
_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY = 86
"""Exit code of a process that ran out of memory."""
_MAX_KEPT_BYTES_PER_MIB = 3 << 18
"""Bytes per MiB of its limit that a process may keep from one task to the next: three quarters."""
_KEEPS_TOO_MUCH = 87
"""Exit code of a process that kept too much memory after its tasks. Another process runs the next task."""


class ComputePool:
    """A pool of processes that end with their parent.

    They are forked from a small server process without threads, never from the worker with its Kafka threads. A killed
    process is replaced in milliseconds.
    """

    def __init__(self, processes: int, preload: Sequence[str] = (), *, memory: int | None = None) -> None:
        """Start the processes in the background. Only the first call waits for that.

        Args:
            processes: Their number.
            preload: Modules that the server process imports once for all of them.
            memory: MiB that the code may use in each process, in addition to the loaded modules; None: no limit.
        """
        self._memory = memory
        context = multiprocessing.get_context("forkserver")
        # This module too: otherwise each process would import it and its imports when it starts.
        context.set_forkserver_preload(["__main__", __name__, *preload])
        self._pool = ProcessPool(
            max_workers=processes,
            max_tasks=TASKS_PER_PROCESS,
            initializer=_prepare,
            initargs=[memory],
            context=context,
        )
        self._started: Future[None] = Future()
        self._started.set_running_or_notify_cancel()  # a cancelled waiter must not cancel the start
        threading.Thread(target=self._start, args=(processes,), name="compute-start", daemon=True).start()

    def _start(self, processes: int) -> None:
        """Run in a thread, because the server process needs seconds to load its modules."""
        try:
            for _ in range(processes):
                self._pool.schedule(_warm_up)
        except BaseException as error:  # noqa: BLE001 - raised again in `started`, which the worker awaits
            self._started.set_exception(error)
        else:
            self._started.set_result(None)

    async def started(self) -> None:
        """Return when the processes have started. Raises the error that prevents it."""
        await asyncio.wrap_future(self._started)

    async def run(
        self, function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object], seconds: float
    ) -> T:
        """Call a function in a process; return or raise what it does. A cancellation kills the process.

        Args:
            function: What is called; it must be importable by its name.
            args: Positional arguments.
            kwargs: Keyword arguments.
            seconds: The process is killed after this time.

        Raises:
            TimeoutError: The time is over.
            OutOfMemoryError: The memory limit is exceeded.
            ComputeCrashedError: The process crashed.
        """
        await self.started()
        future = self._pool.schedule(_run, args=(self._memory, function, args, kwargs), timeout=seconds)
        try:
            result: T = await asyncio.wrap_future(future)
        except ProcessExpired as error:
            if error.exitcode == _KEEPS_TOO_MUCH:
                return await self.run(function, args, kwargs, seconds)
            if error.exitcode == _OUT_OF_MEMORY:
                message = f"{function.__name__} needs more than {self._memory} MiB of memory (STREAMS_COMPUTE_MEMORY)"
                raise OutOfMemoryError(message) from error
            message = f"the process that ran {function.__name__} ended with exit code {error.exitcode}"
            raise ComputeCrashedError(message) from error
        return result

    def close(self) -> None:
        """Kill the running tasks and end the processes. Blocks, also until they have started."""
        futures.wait([self._started])
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble types only what it returns
        self._pool.join()


def _warm_up() -> None:
    """Do nothing: the first task starts a process, and it should not be a delivery."""


def _run(memory: int | None, function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
    """Return the function's result. A process that ran out of memory ends, since its next tasks would fail too.

    A process that kept three quarters of its memory after earlier tasks ends before the next one.
    """
    if memory is not None and _memory_used() - _memory_at_start > memory * _MAX_KEPT_BYTES_PER_MIB:
        os._exit(_KEEPS_TOO_MUCH)
    try:
        return function(*args, **kwargs)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)


_memory_at_start = 0
"""Bytes that this process used after the fork."""


def _prepare(memory: int | None) -> None:
    global _memory_at_start  # noqa: PLW0603 - one number of this process, set once
    _die_with_parent()
    _memory_at_start = _memory_used()
    if memory is not None:
        # Heap and private mappings. RLIMIT_AS would also count the shared libraries.
        limit = _memory_at_start + (memory << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _memory_used() -> int:
    """Return the bytes of heap and private mappings of this process; 0 if the kernel does not report them."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^VmData:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _die_with_parent() -> None:
    """Ask the kernel to kill this process with its server process, which ends with the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
