"""CPU-bound code in processes that can be killed: `await work.compute(function, *args)`."""

import asyncio
import ctypes
import multiprocessing
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

T = TypeVar("T")
TASKS_PER_PROCESS = 50
"""A process is replaced after so many tasks, so that what its libraries leak stays bounded."""
_PR_SET_PDEATHSIG = 1


class ComputeCrashedError(Exception):
    """The process that ran the code died, by a crash or for want of memory."""


class OutOfMemoryError(ComputeCrashedError):
    """The code asked for more memory than its process may take."""


class ComputePool:
    """A few processes, ended with their parent.

    They are forked from a small server process that has no threads (never from a process under the Kafka client's),
    so a killed one is replaced in milliseconds. `preload` names the modules that the server imports for all of them.
    """

    def __init__(self, processes: int, preload: Sequence[str] = (), *, memory: int | None = None) -> None:
        """`memory` is what each process may take, in MiB; None: no limit."""
        self._memory = memory
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", *preload])
        self._pool = ProcessPool(
            max_workers=processes,
            max_tasks=TASKS_PER_PROCESS,
            initializer=_prepare,
            initargs=[memory],
            context=context,
        )
        for _ in range(processes):
            self._pool.schedule(_warm_up)

    async def run(
        self, function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object], seconds: float
    ) -> T:
        """What the function returns or raises. The process is killed after `seconds` or on cancellation.

        Raises TimeoutError past the time, OutOfMemoryError past the memory, ComputeCrashedError where the process
        died under the function.
        """
        future = self._pool.schedule(function, args=args, kwargs=kwargs, timeout=seconds)
        try:
            result: T = await asyncio.wrap_future(future)
        except ProcessExpired as error:
            message = f"the process that ran {function.__name__} died with exit code {error.exitcode}"
            raise ComputeCrashedError(message) from error
        except MemoryError as error:
            message = f"{function.__name__} needs more than {self._memory} MiB of memory (STREAMS_COMPUTE_MEMORY)"
            raise OutOfMemoryError(message) from error
        return result

    def close(self) -> None:
        """Kill what runs and end the processes."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble types only what it returns
        self._pool.join()


def _warm_up() -> None:
    """Nothing: the processes are started by their first task, which should not be a delivery."""


def _prepare(memory: int | None) -> None:
    _die_with_parent()
    if memory is not None:
        # The heap and private mappings; RLIMIT_AS would count the libraries that all processes share, too.
        resource.setrlimit(resource.RLIMIT_DATA, (memory << 20, memory << 20))


def _die_with_parent() -> None:
    """Ask the kernel to end this process with the server it was forked from, which ends with the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
