"""The worker's side of the compute processes: starts them, gives them calls, kills them."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from streams.delivery.errors import ComputeCrashedError, OutOfMemoryError, ProcessorTimeExceededError
from streams.delivery.process_pool.compute_process import KEEPS_TOO_MUCH, OUT_OF_MEMORY
from streams.delivery.process_pool.plain_data import Request, decode_answer, encode_request, name_of, result_type
from streams.delivery.process_pool.processes import ComputeProcess, ForkServer
from streams.delivery.process_pool.turns import Turns
from streams.delivery.process_pool.usage import ComputeUsage, UsageMeter
from streams.observability.logs import get_logger

T = TypeVar("T")
log = get_logger(__name__)
TASKS_PER_PROCESS = 50
"""A process is replaced after this number of tasks, which bounds the memory that its libraries leak."""


class ComputePool:
    """A pool of processes that end with their worker.

    They are forked from a small program without threads (the fork server), never from the worker with its Kafka
    threads. A killed process is replaced in milliseconds. Their environment has no secrets; see `confinement`.
    """

    def __init__(
        self,
        processes: int,
        preload: Sequence[str] = (),
        *,
        memory: int | None = None,
        confined: bool = True,
        log_format: str = "auto",
    ) -> None:
        """Start nothing yet: the first call starts the fork server, so a worker that never computes pays nothing.

        Args:
            processes: How many calls of one tenant run at the same time. One more runs for the others.
            preload: Modules that the fork server imports once for all processes.
            memory: MiB that the code may use in each process, in addition to the loaded modules; None: no limit.
            confined: Whether the processes have no network and start no programs, where the kernel can forbid it.
            log_format: STREAMS_LOG_FORMAT. The processes log errors only.
        """
        self._usage = UsageMeter()
        self._processes = processes
        self._memory = memory
        self._options = (list(preload), confined, log_format)
        self._turns = Turns(processes)
        self._idle: list[ComputeProcess] = []
        self._server: ForkServer | None = None
        self._replacing = asyncio.Lock()
        self._starting: asyncio.Task[ForkServer] | None = None

    async def started(self) -> ForkServer:
        """Start the fork server, or wait until it has started. Raises the error that prevents it."""
        if self._server is not None:
            return self._server
        if self._starting is None or self._starting.done():
            # A task of its own: a cancelled caller must not cancel the start.
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> ForkServer:
        preload, confined, log_format = self._options
        server = ForkServer(preload, self._memory, self._usage, confined=confined, log_format=log_format)
        try:
            await server.connect()
        except BaseException:
            await server.close()
            raise
        self._server = server
        return server

    async def run(  # noqa: PLR0913 - a call and its limits
        self,
        function: Callable[..., T],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        seconds: float,
        *,
        tenant: str = "",
        processor_seconds: float | None = None,
        on_used: Callable[[float], None] = lambda _: None,
    ) -> T:
        """Call a function in a process; return or raise what it does. A cancellation kills the process.

        Args:
            function: What is called; it must be importable by its name. Its result is plain data.
            args: Positional arguments.
            kwargs: Keyword arguments.
            seconds: The process is killed after this time. The time before the call starts does not count.
            tenant: Whose call it is. A tenant gets `processes` of them at most.
            processor_seconds: The process is killed after so much processor time; None: as `seconds` allows.
            on_used: Called with the processor time of the call, also if it fails.

        Raises:
            TimeoutError: The time is over.
            ProcessorTimeExceededError: The processor time is used up.
            OutOfMemoryError: The memory limit is exceeded.
            ComputeCrashedError: The process crashed.
        """
        result_type(function)
        if processor_seconds is None:
            processor_seconds = seconds * (os.cpu_count() or 1)
        request = encode_request(Request(function, args, kwargs, processor_seconds))
        await self.started()
        async with self._turns.turn(tenant):
            answer = None
            while answer is None:
                answer = await self._call(name_of(function), request, seconds, processor_seconds, on_used)
        return cast("T", decode_answer(function, answer))

    async def _call(
        self, name: str, request: bytes, seconds: float, processor_seconds: float, on_used: Callable[[float], None]
    ) -> bytes | None:
        """Return the answer of a process; None: it kept too much memory, and ended before the call."""
        process = await self._process()
        before = process.processor_seconds
        try:
            async with asyncio.timeout(seconds):
                answer = await process.call(request)
        except ConnectionError as error:
            code = await process.exit_code()
            if code == KEEPS_TOO_MUCH and process.calls > 1:
                return None
            raise self._ended(name, code, processor_seconds) from error
        except BaseException:
            process.read_processor_seconds()
            process.kill()
            raise
        finally:
            on_used(process.processor_seconds - before)
        if process.calls < TASKS_PER_PROCESS:
            self._idle.append(process)
        else:
            process.close()
        return answer

    def _ended(self, name: str, code: int, processor_seconds: float) -> Exception:
        """Return the error of a call whose process ended with this exit code."""
        if code == OUT_OF_MEMORY:
            return OutOfMemoryError(f"{name} needs more than {self._memory} MiB of memory (STREAMS_COMPUTE_MEMORY)")
        if code == -signal.SIGXCPU:
            return ProcessorTimeExceededError(f"{name} needs more than {processor_seconds:.0f} s of processor time")
        if code == -signal.SIGABRT and self._memory is not None:
            return ComputeCrashedError(
                f"a library ended the process that ran {name}, as it does without memory: "
                f"{self._memory} MiB are allowed (STREAMS_COMPUTE_MEMORY)"
            )
        return ComputeCrashedError(f"the process that ran {name} ended with exit code {code}")

    async def _process(self) -> ComputeProcess:
        """Return an idle process, or a new one. Starts another fork server if that has ended."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.close()
        server = await self.started()
        try:
            return await server.fork()
        except ConnectionError:
            log.warning("the fork server of the compute processes has ended; starting another one")
        async with self._replacing:
            if self._server is server:
                await server.close()
                await self._start()
        return await (await self.started()).fork()

    def usage(self) -> ComputeUsage:
        """Return the processor time and the memory of the processes."""
        return self._usage.read()

    async def close(self) -> None:
        """Kill the running calls and end the processes."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        for process in self._idle:
            process.close()
        if self._server is not None:
            await self._server.close()
