"""One server process: started in a session of its own, known again later, stopped within a bound."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from streams.local.unprivileged_user import Account

LAST_LINES = 20
_POLL = 0.03


class ServerFailedError(Exception):
    """A server did not start; the message is one line for the user, `log` the server's own last lines."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True, slots=True)
class StartUp:
    """One `up` under way: whom to tell what happens, and whether it was called off."""

    say: Callable[[str], None]
    called_off: threading.Event = field(default_factory=threading.Event)


class ServerProcess:
    """A server with its folder: `log`, `log.old` (the start before) and `process.json` (who runs).

    Args:
        name: what people call it, for messages: "Kafka broker 1".
        folder: made when it is started.
        stop_signal: what the server takes as the wish to end in order.
        stop_timeout: seconds until it is killed.
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
        # Kept so that a server started by a long-lived process (a test run) is reaped when it ends.
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The running server's process id; None when it does not run, whoever has its former id now."""
        if self._child is not None:
            self._child.poll()
        try:
            record = json.loads(self._record.read_text())
            pid, birth = int(record["pid"]), record["birth"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        # A server that ended before its birth was read has none on record, as one that is gone has none now.
        return pid if birth is not None and birth == birth_of(pid) else None

    def start(
        self, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, account: Account | None = None
    ) -> None:
        """Start it, detached from this process. Raises ServerFailedError where the program cannot be run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".old"))
        account = account or Account()
        try:
            with self.log.open("ab") as log:
                self._child = subprocess.Popen(  # noqa: S603 - our own servers' command lines
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
        except OSError as error:
            raise ServerFailedError(f"{self.name} cannot be run: {arguments[0]}: {error.strerror}") from error
        self._record.write_text(json.dumps({"pid": self._child.pid, "birth": birth_of(self._child.pid)}))

    def wait_until(self, answers: Callable[[], bool], start_up: StartUp, *, timeout: float) -> None:
        """Return as soon as `answers()`; raises ServerFailedError if it ends before, or not within `timeout` seconds.

        A server that fails is stopped, so that nothing half-started stays behind.
        """
        why = self._why_no_answer(answers, start_up, timeout)
        if why is not None:
            self.stop()
            raise ServerFailedError(f"{self.name} did not start: it {why}; its log is {self.log}", self.last_lines())

    def is_up(self, answers: Callable[[], bool], start_up: StartUp, *, timeout: float) -> bool:
        """Whether it runs and answers, so that nothing is to be started.

        One that runs is given its time: an earlier `up` may have been interrupted while it started, or it was killed
        a moment ago. One that does not answer in time is stopped.
        """
        if self.pid is None:
            return False
        if self._why_no_answer(answers, start_up, timeout) is None:
            return True
        self.stop()
        return False

    def stop(self) -> bool:
        """Ask it to end, kill it when it does not; True if it ran."""
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
        """The end of the log since the last start."""
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
            if start_up.called_off.wait(_POLL):
                return "was called off"
        code = self._child.poll() if self._child is not None else None
        return "ended" if code is None else f"ended with exit code {code}"

    def _ended_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self.pid is not None:
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True


def wait_until_unused(folder: Path, program: str, *, timeout: float) -> None:
    """Wait for processes of a program that still work in a folder, as a killed server's children do for a moment.

    Raises ServerFailedError with their ids after `timeout` seconds.
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
    except OSError:
        # Gone meanwhile, or another user's: neither is one that we left behind.
        return False


def birth_of(pid: int) -> str | None:
    """What tells a process from a later one of the same id: this boot and the clock ticks until its start.

    None for a process that is gone or a zombie. (A wall-clock start time would move when the clock is set.)
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the name, which may hold anything, ends at the last parenthesis; then state, …, starttime as 20th.
    state, *rest = status.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else f"{boot}:{rest[18]}"
