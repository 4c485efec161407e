"""One server process: started in its own session, recognised by later commands, stopped within a time limit."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from streams.local.unprivileged_user import Account

LAST_LINES = 20
_POLL = 0.03


class ServerFailedError(Exception):
    """A server did not start. The message is one line for the user; `log` contains the server's last log lines."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True, slots=True)
class StartUp:
    """One running `up`: a callback for progress, and an event that cancels it."""

    report: Callable[[str], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class ServerProcess:
    """A server and its folder with `log`, `log.old` (of the previous start) and `process.json` (the running process).

    Args:
        name: the name in messages: "Kafka broker 1".
        folder: created at the start.
        stop_signal: the signal for an orderly shutdown.
        stop_timeout: seconds until the server is killed.
    """

    def __init__(
        self, name: str, folder: Path, *, stop_signal: signal.Signals = signal.SIGTERM, stop_timeout: float = 10.0
    ) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / "log"
        self._record = folder / "process.json"
        self._stop_signal = stop_signal
        self._stop_timeout = stop_timeout
        # Kept so that a long-lived process (a test run) reaps the server when it ends.
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the id of the running server's process; None if it is not running, even if its former id is in use."""
        if self._child is not None:
            self._child.poll()
        try:
            record = json.loads(self._record.read_text())
            pid, birth = int(record["pid"]), record["birth"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        # A server that ended at once has no start time in the file. A process that does not exist has none either.
        return pid if birth is not None and birth == process_identity(pid) else None

    def start(
        self, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, account: Account | None = None
    ) -> None:
        """Start the server, detached from this process. Raises ServerFailedError if the program cannot be executed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".old"))
        account = account or Account()
        try:
            with self.log.open("ab") as log, signals_deferred():
                self._child = subprocess.Popen(  # noqa: S603 - the command lines of the stack's own servers
                    account.command(arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=environment,
                    user=account.uid,
                    group=account.gid,
                    extra_groups=account.groups,
                )
                # In the same block: a process that nobody knows would be left running.
                self._record.write_text(
                    json.dumps({"pid": self._child.pid, "birth": process_identity(self._child.pid)})
                )
        except OSError as error:
            raise ServerFailedError(f"{self.name} cannot be run: {arguments[0]}: {error.strerror}") from error

    def wait_until(self, answers: Callable[[], bool], start_up: StartUp, *, timeout: float) -> None:
        """Wait until `answers()` returns True. A server that fails is stopped.

        Args:
            answers: whether the server is ready.
            start_up: may cancel the wait.
            timeout: seconds.

        Raises:
            ServerFailedError: the server ended, or is not ready within the timeout.
        """
        why = self._why_no_answer(answers, start_up, timeout)
        if why is not None:
            self.stop()
            raise ServerFailedError(f"{self.name} did not start: it {why}; its log is {self.log}", self.last_lines())

    def is_up(self, answers: Callable[[], bool], start_up: StartUp, *, timeout: float) -> bool:
        """Return whether the server is running and answers, so that it need not be started.

        A running server gets the full timeout: an earlier `up` may have been interrupted during its start, or the
        server was killed a moment ago. A server that does not answer in time is stopped.
        """
        if self.pid is None:
            return False
        if self._why_no_answer(answers, start_up, timeout) is None:
            return True
        self.stop()
        return False

    def stop(self) -> bool:
        """Stop the server, and kill it if it does not end. Returns True if it was running."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, self._stop_signal)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            raise ServerFailedError(f"{self.name} (process {pid}) belongs to another user, who must stop it") from error
        if not self._ended_within(self._stop_timeout):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            if not self._ended_within(10.0):
                raise ServerFailedError(f"{self.name} (process {pid}) cannot be stopped", self.last_lines())
        self._record.unlink(missing_ok=True)
        return True

    def last_lines(self) -> str:
        """Return the last lines of the log since the last start."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-LAST_LINES:])

    def _why_no_answer(self, answers: Callable[[], bool], start_up: StartUp, timeout: float) -> str | None:
        until = time.monotonic() + timeout
        while self.pid is not None:
            if answers():
                return None
            if time.monotonic() > until:
                return f"did not answer within {timeout:.0f} s"
            if start_up.cancelled.wait(_POLL):
                return "was cancelled"
        code = self._child.poll() if self._child is not None else None
        return "ended" if code is None else f"ended with exit code {code}"

    def _ended_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self.pid is not None:
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Handle SIGINT and SIGTERM after the block. Only the main thread handles signals, so others change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not None}  # None: not Python's
    for number in before:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)


def wait_until_unused(folder: Path, program: str, *, timeout: float) -> None:
    """Wait for processes of a program that still use a folder, such as the children of a killed server.

    Args:
        folder: the working folder of the processes.
        program: the name of the executable.
        timeout: seconds.

    Raises:
        ServerFailedError: processes still use the folder; the message has their ids.
    """
    until = time.monotonic() + timeout
    while users := [pid for pid in _pids() if _works_in(pid, folder, program)]:
        if time.monotonic() > until:
            raise ServerFailedError(f"{folder} is in use by {program}, process {', '.join(map(str, users))}")
        time.sleep(_POLL)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _works_in(pid: int, folder: Path, program: str) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        return (process / "cwd").samefile(folder) and (process / "exe").readlink().name == program
    except PermissionError:
        # It belongs to another user, and root may not look at its folder in a container (no CAP_SYS_PTRACE).
        return _is_orphan(process, program)
    except OSError:
        return False


def _is_orphan(process: Path, program: str) -> bool:
    """Return whether this is a child of a server that has been killed; it then ends soon."""
    try:
        title = (process / "cmdline").read_bytes()
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        parent_name = Path(f"/proc/{parent}/comm").read_text().strip()
    except (OSError, IndexError):
        return False
    return title.startswith(f"{program}: ".encode()) and parent_name != program


def process_identity(pid: int) -> str | None:
    """Return an identity that a later process with the same id does not have: boot id and start time in clock ticks."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the name may contain any character and ends at the last parenthesis. Then come state, …; starttime is the
    # 20th.
    state, *rest = status.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else f"{boot}:{rest[18]}"
