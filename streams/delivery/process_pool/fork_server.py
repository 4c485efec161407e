"""The program that compute processes are forked from: it loads their modules once, and has one thread.

The worker sends one JSON object per line: `{"fork": true}` with the socket of the new process, or `{"kill": pid}`. The
program answers `{"started": pid}`, and reports `{"ended": pid, "code": exit code, "processor_seconds": used}`. It ends
with the worker, whose end of the socket closes.
"""

import importlib
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn, TypedDict

from streams.delivery.process_pool import compute_process
from streams.delivery.process_pool.confinement import can_filter, hide_memory
from streams.observability.compute_logs import configure_compute_logging, remove_library_handlers

_MAX_FDS = 16
_CHUNK = 65536


class Options(TypedDict):
    """What the worker gives the program."""

    descriptor: int
    """Of the socket to the worker."""
    preload: list[str]
    """Modules to import once for all processes."""
    memory: int | None
    """MiB that a process may use in addition to them; None: no limit."""
    confined: bool
    """Whether to filter the system calls of the processes, where the kernel can."""
    log_format: str
    """STREAMS_LOG_FORMAT of the worker."""


def main(options: Options) -> NoReturn:
    """Load the modules, then fork processes until the worker ends."""
    # An orchestrator may send its signals to all processes of a service. The worker drains, and needs these meanwhile.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    hide_memory()
    configure_compute_logging(options["log_format"])
    for module in options["preload"]:
        # Functions of modules that are not installed here are imported where they are used.
        with suppress(ImportError):
            importlib.import_module(module)
    remove_library_handlers()
    filtered = options["confined"] and can_filter()
    worker = socket.socket(fileno=options["descriptor"])
    _Server(worker, options["memory"], filtered=filtered).run()


class _Server:
    def __init__(self, worker: socket.socket, memory: int | None, *, filtered: bool) -> None:
        self._worker = worker
        self._memory = memory
        self._filtered = filtered
        self._children: set[int] = set()
        self._rest = b""
        self._wakeup, self._signalled = socket.socketpair()
        for end in (self._wakeup, self._signalled):
            end.settimeout(0)

    def run(self) -> NoReturn:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        self._send({"ready": os.getpid(), "filtered": self._filtered})
        with selectors.DefaultSelector() as selector:
            selector.register(self._worker, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._wakeup in ready:
                    with suppress(BlockingIOError):
                        self._wakeup.recv(_CHUNK)
                    self._reap()
                if self._worker in ready:
                    self._receive()

    def _receive(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._worker, _CHUNK, _MAX_FDS)
        if not data:
            os._exit(0)  # the worker has ended; the kernel kills the processes with this one
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "fork" in order:
                self._fork(descriptors.pop(0))
            elif order["kill"] in self._children:
                os.kill(order["kill"], signal.SIGKILL)

    def _fork(self, descriptor: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (self._worker, self._wakeup, self._signalled):
                    other.close()
                code = compute_process.run(descriptor, parent, self._memory, filtered=self._filtered)
            except BaseException:  # noqa: BLE001 - a forked process must never return into the server's loop
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        os.close(descriptor)
        self._children.add(pid)
        self._send({"started": pid})

    def _reap(self) -> None:
        while self._children:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            seconds = used.ru_utime + used.ru_stime
            self._send({"ended": pid, "code": os.waitstatus_to_exitcode(status), "processor_seconds": seconds})

    def _send(self, message: dict[str, object]) -> None:
        try:
            self._worker.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(0)


def command(options: Options) -> list[str]:
    """Return the command line of the program. It finds the same modules as this process."""
    code = (
        "import json, sys; options, sys.path[:] = json.loads(sys.argv[1]), json.loads(sys.argv[2]); "
        f"from {__name__} import main; main(options)"
    )
    return [sys.executable, "-c", code, json.dumps(options), json.dumps(sys.path)]
