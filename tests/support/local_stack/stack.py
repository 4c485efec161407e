"""The servers that the tests run on: started for one run, or kept from run to run.

`STREAMS_TEST_STACK=keep` uses the stack in `.local-test`, or in the folder that `STREAMS_TEST_STACK_DIR` names. The
first run starts it, and it is left running. Every test has its own database, topics and names in both cases.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psutil
import psycopg

from streams.local.stack import LocalStack
from tests.support.processes.worker_process import ROOT

MODE = "STREAMS_TEST_STACK"
FOLDER = "STREAMS_TEST_STACK_DIR"
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - folders with names of their own are made in it
_ROOM = 2 * 1024**3
"""Bytes; a session needs some two hundred MiB, and several run at the same time."""
_PREFIX = "streams-test-"


class WrongModeError(Exception):
    """`STREAMS_TEST_STACK` has a value that means nothing."""


def _new_run() -> str:
    return uuid4().hex[:6]


@dataclass(frozen=True)
class Stack:
    """The servers of this session. What the session makes on them has a name that begins with `t` and its `run`."""

    environment: dict[str, str]
    folder: Path
    kept: bool = False
    """The servers are used by other sessions too: no test may stop or freeze them."""
    run: str = field(default_factory=_new_run)
    _numbers: Iterator[int] = field(default_factory=partial(count, 1))

    def fresh_name(self) -> str:
        """A name for a database, an application or a topic that nothing on these servers has."""
        return f"t{self.run}{next(self._numbers):04x}"


@contextmanager
def session_stack(folder: Path) -> Iterator[Stack]:
    """Quick servers for this session: their data is in memory where there is room, else in that folder."""
    _remove_abandoned()
    if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM:
        with TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=_IN_MEMORY) as memory:
            Path(memory).chmod(0o755)
            with running_stack(Path(memory) / "stack") as stack:
                _write_without_waiting(stack.environment)
                yield stack
    else:
        with running_stack(folder) as stack:
            _write_without_waiting(stack.environment)
            yield stack


@contextmanager
def running_stack(folder: Path, brokers: int | None = None) -> Iterator[Stack]:
    """Servers whose data is in that folder, as users have them. They are stopped in the end."""
    folder.parent.chmod(0o755)  # PostgreSQL may run as another user
    local = LocalStack(folder, brokers)
    local.up()
    try:
        yield Stack(local.environment(), folder)
    finally:
        local.down()


def kept_folder() -> Path | None:
    """The folder of the kept stack. None: this run starts its own.

    Raises:
        WrongModeError: `STREAMS_TEST_STACK` is neither empty nor `keep`.
    """
    mode = os.environ.get(MODE, "")
    if mode not in {"", "keep"}:
        raise WrongModeError(f"{MODE} is {mode!r}: write `keep`, or leave it out")
    return Path(os.environ.get(FOLDER) or ROOT / ".local-test").absolute() if mode else None


def kept_stack(folder: Path) -> Stack:
    """The servers in that folder, started where they do not run, and left running."""
    local = LocalStack(folder)
    status = local.status()
    if not status or not all(server.running for server in status):
        local.up()
        _write_without_waiting(local.environment())
    return Stack(local.environment(), folder, kept=True)


def _write_without_waiting(environment: dict[str, str]) -> None:
    """Let PostgreSQL leave its data to the system's cache. Only a crash of the whole machine would lose any."""
    with psycopg.connect(environment["STREAMS_DATABASE_URL"], autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")


def _remove_abandoned() -> None:
    """Stop and remove what a session that was killed has left in memory."""
    for folder in _IN_MEMORY.glob(f"{_PREFIX}*"):
        pid = int(folder.name.removeprefix(_PREFIX).partition("-")[0])
        if folder.stat().st_uid == os.getuid() and not psutil.pid_exists(pid):
            LocalStack(folder / "stack").down()
            shutil.rmtree(folder, ignore_errors=True)
