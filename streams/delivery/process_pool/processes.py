"""The worker's ends of its fork server and of one compute process."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections import deque
from typing import TypeVar, cast

from streams.delivery.errors import ComputeCrashedError
from streams.delivery.process_pool.compute_process import ANSWER, LENGTH
from streams.delivery.process_pool.confinement import clean_environment
from streams.delivery.process_pool.fork_server import Options, command
from streams.delivery.process_pool.plain_data import MAX_RESULT_BYTES
from streams.delivery.process_pool.usage import UsageMeter
from streams.observability.logs import get_logger

log = get_logger(__name__)
_End = tuple[int, float]
"""The exit code of a process, and its processor time in seconds."""
_NO_END = (-1, 0.0)
"""The end of processes whose fork server has ended: the kernel killed them with it."""
_PROCESS_HAS_ENDED = "the compute process has ended"
_GRACE = 1.0
"""Seconds that a process has to end by itself."""
_HAS_ENDED = "the fork server of the compute processes has ended"
T = TypeVar("T")
_Started = tuple[int, "asyncio.Future[_End]"]
"""The id of a process, and its end when it has ended."""


class ForkServer:
    """The program that compute processes are forked from."""

    def __init__(
        self, preload: list[str], memory: int | None, usage: UsageMeter, *, confined: bool, log_format: str
    ) -> None:
        """Start the program. It then loads its modules.

        Args:
            preload: The modules.
            memory: MiB that each process may use in addition to them; None: no limit.
            usage: Gets the starts and ends of the processes.
            confined: Whether to filter the system calls of the processes.
            log_format: STREAMS_LOG_FORMAT of this worker.
        """
        self.usage = usage
        self._socket, other = socket.socketpair()
        with other:
            options = Options(
                descriptor=other.fileno(), preload=preload, memory=memory, confined=confined, log_format=log_format
            )
            self._program = subprocess.Popen(  # noqa: S603 - this interpreter and this package
                command(options),
                env=clean_environment(os.environ),
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._starting: deque[asyncio.Future[_Started | None]] = deque()
        self._ends: dict[int, asyncio.Future[_End]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._ended = False

    async def connect(self) -> None:
        """Wait until the program has loaded its modules. Raises ComputeCrashedError if it ends instead."""
        reader, writer = await asyncio.open_unix_connection(sock=self._socket.dup())
        try:
            line = await _line(reader)
        except BaseException:
            writer.close()
            raise
        if not line:
            writer.close()
            code = await asyncio.to_thread(self._program.wait)
            message = f"the fork server of the compute processes ended with exit code {code}; its error is above"
            raise ComputeCrashedError(message)
        if not json.loads(line)["filtered"]:
            log.warning("compute processes may use the network and start programs: system calls are not filtered")
        self._listener = asyncio.create_task(self._listen(reader, writer))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the reports of the program until it ends."""
        try:
            while line := await _line(reader):
                report = json.loads(line)
                if "started" in report:
                    pid = report["started"]
                    self.usage.started(pid)
                    self._ends[pid] = asyncio.get_running_loop().create_future()
                    _answer(self._starting.popleft(), (pid, self._ends[pid]))
                else:
                    pid, seconds = report["ended"], report["processor_seconds"]
                    self.usage.ended(pid, seconds)
                    _answer(self._ends.pop(pid), (report["code"], seconds))
        finally:
            self._ended = True
            writer.close()
            for starting in self._starting:
                _answer(starting, None)
            for pid, ended in self._ends.items():
                self.usage.ended(pid, None)
                _answer(ended, _NO_END)

    async def fork(self) -> "ComputeProcess":
        """Start a process. Raises ConnectionError if the program has ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                started = await self._start(theirs)
            _, answers = await asyncio.get_running_loop().create_unix_connection(_Answers, sock=ours)
        except BaseException:
            ours.close()  # the process reads the end of its socket, and ends
            raise
        return ComputeProcess(self, *started, answers)

    async def _start(self, theirs: socket.socket) -> _Started:
        if self._ended:
            raise ConnectionResetError(_HAS_ENDED)
        came: asyncio.Future[_Started | None] = asyncio.get_running_loop().create_future()
        socket.send_fds(self._socket, [b'{"fork": true}\n'], [theirs.fileno()])
        self._starting.append(came)
        started = await came
        if started is None:
            raise ConnectionResetError(_HAS_ENDED)
        return started

    def kill(self, pid: int) -> None:
        """Kill a process. The program does it, since it knows whether the process still has this id."""
        if not self._ended:
            self._socket.sendall(b'{"kill": %d}\n' % pid)

    async def close(self) -> None:
        """End the program, and its processes with it."""
        self._program.kill()
        await asyncio.to_thread(self._program.wait)
        if self._listener is not None:
            await self._listener  # it reads the end of the program's socket
        self._socket.close()


class ComputeProcess:
    """One process. It runs one call at a time."""

    def __init__(self, server: ForkServer, pid: int, ended: "asyncio.Future[_End]", answers: "_Answers") -> None:
        self._server = server
        self._pid = pid
        self._ended = ended
        self._answers = answers
        self.calls = 0
        self.processor_seconds = 0.0
        """Processor time of the calls."""

    @property
    def alive(self) -> bool:
        """Whether the process has neither ended nor written anything without a call, as far as is known."""
        return not self._ended.done() and not self._answers.lost

    async def call(self, request: bytes) -> bytes:
        """Send a request and return its answer.

        Raises ConnectionError if the process ends, ComputeCrashedError if it writes something else than one answer.
        """
        self.calls += 1
        began = time.perf_counter()
        answer, seconds = await self._answers.answer(request)
        # The process may have been taken over by what it reads, so its number is limited to what is possible.
        longest = (time.perf_counter() - began) * (os.cpu_count() or 1)
        self.processor_seconds += seconds if 0 <= seconds <= longest else 0.0
        return answer

    def read_processor_seconds(self) -> None:
        """Set `processor_seconds` to the time of the whole process, after a call that has no answer."""
        self.processor_seconds = max(self.processor_seconds, self._server.usage.processor_seconds(self._pid))

    async def exit_code(self) -> int:
        """Return the exit code of a process that has closed its socket; negative: the signal."""
        self.close()
        code, seconds = await self._ended
        self.processor_seconds = max(self.processor_seconds, seconds)
        return code

    def kill(self) -> None:
        """Kill the process, whatever it does."""
        self._server.kill(self._pid)
        self._answers.close()

    def close(self) -> None:
        """Let the process end. It is killed if it does not."""
        self._answers.close()
        asyncio.get_running_loop().call_later(_GRACE, self._server.kill, self._pid)


class _Answers(asyncio.Protocol):
    """The worker's end of a process's socket. What it has not asked for is never taken for the next answer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[bytes, float]] | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def answer(self, request: bytes) -> tuple[bytes, float]:
        """Send a request, and return the bytes of its answer and the processor seconds that the process reports."""
        if self._transport is None or self.lost:
            raise ConnectionResetError(_PROCESS_HAS_ENDED)
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.writelines((LENGTH.pack(len(request)), request))
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self.close()
            return
        self._buffer += data
        if len(self._buffer) < ANSWER.size:
            return
        length, seconds = ANSWER.unpack_from(self._buffer)
        if length > MAX_RESULT_BYTES:
            self._fail(
                f"the result has {length >> 20} MiB; {MAX_RESULT_BYTES >> 20} MiB are allowed: write it to a file, and "
                "return its name"
            )
        elif len(self._buffer) > ANSWER.size + length:
            self._fail("the process returned more than one result")
        elif len(self._buffer) == ANSWER.size + length:
            self._waiting.set_result((bytes(memoryview(self._buffer)[ANSWER.size :]), seconds))
            self._buffer = bytearray()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the library's signature
        self.lost = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError(_PROCESS_HAS_ENDED))

    def close(self) -> None:
        """Close the socket. The process reads its end, and ends."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, message: str) -> None:
        if self._waiting is not None:
            self._waiting.set_exception(ComputeCrashedError(message))
        self.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line; empty if the program has ended, also in the middle of something."""
    try:
        return await reader.readline()
    except ConnectionError:
        return b""


def _answer(waiting: "asyncio.Future[T]", value: T) -> None:
    """Set the result, unless the waiting call was cancelled."""
    if not waiting.done():
        waiting.set_result(value)
