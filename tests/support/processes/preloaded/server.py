"""Loads the modules of the commands once, then forks a process for each call, until its standard input closes."""

import gc
import importlib
import io
import json
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

_CHUNK = 1 << 16


@dataclass
class _Call:
    """One call of a command: the connection of the program that stands for it, and its process."""

    connection: socket.socket
    received: bytes = b""
    files: list[int] = field(default_factory=list)
    """The standard files of its process. They are open here until the process exists."""
    pid: int | None = None

    def close_files(self) -> None:
        for file in self.files:
            os.close(file)
        self.files.clear()


@dataclass(frozen=True)
class _Request:
    """What the process takes over from the program that stands for it."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    umask: int
    limits: dict[str, tuple[int, int]]
    ignored: list[int]


class _Server:
    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._wakeup, self._signalled = socket.socketpair()
        for end in (self._wakeup, self._signalled):
            end.settimeout(0)
        self._calls: dict[socket.socket, _Call] = {}
        self._selector = selectors.DefaultSelector()

    def run(self) -> Callable[[], None] | None:
        """Serve calls. Returns the command's function in each forked process, and None in the server at its end."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for source in (sys.stdin.fileno(), self._listener, self._wakeup):
            self._selector.register(source, selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == sys.stdin.fileno():
                    self._end()
                    return None
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wakeup:
                    self._reap()
                elif (call := self._calls.get(key.fileobj)) is not None:  # type: ignore[call-overload] # a socket
                    command = self._read(call)
                    if command is not None:
                        return command

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._calls[connection] = _Call(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, call: _Call) -> Callable[[], None] | None:
        """Read a request or signals. Returns the command's function in the forked process."""
        with suppress(ConnectionError):
            part, files, _, _ = socket.recv_fds(call.connection, _CHUNK, 3)
            call.files += files
            call.received += part
            if part and call.pid is None:
                return self._begin(call)
            if part:
                self._pass_on(call)
                return None
        self._forget(call)
        return None

    def _begin(self, call: _Call) -> Callable[[], None] | None:
        length, _, body = call.received.partition(b"\n")
        if not body or len(body) < int(length):
            return None
        request = _Request(**json.loads(body[: int(length)]))
        call.received = body[int(length) :]
        pid = os.fork()
        if pid == 0:
            return self._become(call, request)
        call.pid = pid
        call.close_files()
        self._pass_on(call)
        return None

    def _pass_on(self, call: _Call) -> None:
        while b"\n" in call.received:
            number, _, call.received = call.received.partition(b"\n")
            assert call.pid is not None
            os.kill(call.pid, int(number))

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            self._wakeup.recv(_CHUNK)
        for call in [call for call in self._calls.values() if call.pid is not None]:
            assert call.pid is not None
            ended, status = os.waitpid(call.pid, os.WNOHANG)
            if ended:
                with suppress(ConnectionError):
                    call.connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
                call.pid = None
                self._forget(call)

    def _forget(self, call: _Call) -> None:
        """Close a connection. A process that still runs is killed, as the program that stood for it was."""
        self._selector.unregister(call.connection)
        call.connection.close()
        call.close_files()
        del self._calls[call.connection]
        if call.pid is not None:
            os.kill(call.pid, signal.SIGKILL)
            os.waitpid(call.pid, 0)

    def _end(self) -> None:
        for call in list(self._calls.values()):
            self._forget(call)

    def _become(self, call: _Call, request: _Request) -> Callable[[], None]:
        """Give the forked process the files, environment and limits of its call."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in request.ignored:
            signal.signal(number, signal.SIG_IGN)
        self._selector.close()
        for one in (self._listener, self._wakeup, self._signalled, *self._calls):
            one.close()
        # A pipe that this process kept open for another call would not end with that call.
        for other in self._calls.values():
            if other is not call:
                other.close_files()
        for target, file in enumerate(call.files):
            os.dup2(file, target)
        call.close_files()
        os.environ.clear()
        os.environ.update(request.environment)
        os.chdir(request.folder)
        os.umask(request.umask)
        for name, (soft, hard) in request.limits.items():
            resource.setrlimit(getattr(resource, name), (soft, hard))
        _open_streams()
        command, *arguments = request.arguments
        sys.argv = [command, *arguments]
        sys.path[:0] = [
            one for one in request.environment.get("PYTHONPATH", "").split(os.pathsep) if one and one not in sys.path
        ]
        return _streams if command == "streams" else _faust


def _open_streams() -> None:
    """Make the standard streams anew, as an interpreter does at its start."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(os.fdopen(0, "rb", closefd=False))  # type: ignore[misc] # a new process
    for number, name in ((1, "stdout"), (2, "stderr")):
        terminal = os.isatty(number)
        stream = io.TextIOWrapper(
            os.fdopen(number, "wb", closefd=False),
            errors="backslashreplace" if name == "stderr" else None,
            line_buffering=terminal or name == "stderr",
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _streams() -> None:
    from streams.cli import main  # noqa: PLC0415 - loaded by `_load`

    main()


def _faust() -> None:
    from faust.cli.faust import cli  # noqa: PLC0415 - loaded by `_load`

    cli()


def _load() -> None:
    """Import what workers and commands import."""
    import faust.cli.worker  # noqa: F401, PLC0415

    import streams.bootstrap  # noqa: F401, PLC0415
    from streams import cli  # noqa: PLC0415

    for command in cli.COMMANDS:
        importlib.import_module(f"streams.cli.{command}")
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    sys.path[0] = os.environ["PYTHONPATH"]
    _load()
    run = _Server(sys.argv[1]).run()
    if run is not None:
        run()
