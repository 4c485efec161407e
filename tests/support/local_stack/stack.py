"""The servers of the tests: started for one run and shared by its processes, or kept from run to run.

`STREAMS_TEST_STACK=keep` uses the stack in `.local-test`, or in the folder in `STREAMS_TEST_STACK_DIR`. The first run
starts it, and it keeps running. In both cases every test has its own database, topics and names.
"""

import fcntl
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from uuid import uuid4

import psutil
import psycopg
from sqlalchemy.engine import make_url

from streams.local.stack import LocalStack
from tests.support.processes.worker_process import ROOT

MODE = "STREAMS_TEST_STACK"
FOLDER = "STREAMS_TEST_STACK_DIR"
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only uniquely named folders are created in it
_ROOM = 2 * 1024**3
"""Bytes. A session needs about two hundred MiB, and several run at the same time."""
_PREFIX = "streams-test-"
_OPEN_FILES = 10_000
"""A broker has one open for each partition. A test with all topics has two hundred, and several tests run at a time."""


class WrongModeError(Exception):
    """`STREAMS_TEST_STACK` has an unknown value."""


def _new_run() -> str:
    return uuid4().hex[:6]


@dataclass(frozen=True)
class Stack:
    """The servers of a process of tests. Its names of databases and topics begin with `t` and with its `run`."""

    environment: dict[str, str]
    folder: Path
    database_admin_url: str
    """The superuser of PostgreSQL. The URL of `environment` has the role of the pipeline."""
    shared: bool = False
    """Whether other processes of tests use the servers too. If so, no test may stop or freeze them."""
    run: str = field(default_factory=_new_run)
    _numbers: Iterator[int] = field(default_factory=partial(count, 1))

    def fresh_name(self) -> str:
        """Return a new name for a database, an application or a topic."""
        return f"t{self.run}{next(self._numbers):04x}"


@contextmanager
def run_stack(folder: Path) -> Iterator[Stack]:
    """Use the servers of this run. The first process of the run starts them, the last one stops them.

    To start a server and to warm it up costs as much as a hundred tests. Where a process may have few open files, each
    process of the run has its own servers.

    Args:
        folder: The same folder in each process of the run. Data of the servers are in it if the memory has no space.
    """
    several = "PYTEST_XDIST_WORKER" in os.environ
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if several and resource.RLIM_INFINITY != files < _OPEN_FILES:
        with own_stack(folder / os.environ["PYTEST_XDIST_WORKER"]) as stack:
            yield stack
        return
    _remove_abandoned()
    memory = _IN_MEMORY / f"{_PREFIX}{os.getppid() if several else os.getpid()}-run"
    # The operating system unlocks the file of a process that ends for any reason.
    with (folder / "users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        place = memory if memory.exists() or _memory_has_room() else folder
        place.mkdir(exist_ok=True)
        place.chmod(0o755)  # PostgreSQL may run as another user
        try:
            yield replace(_started_stack(place / "stack"), shared=several)
        finally:
            if _is_last(users):
                for one in (memory, folder):
                    LocalStack(one / "stack").down()
                shutil.rmtree(memory, ignore_errors=True)


def _is_last(users: IO[str]) -> bool:
    """Return whether no other process holds the lock. If so, the next one waits until this file is closed."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def own_stack(folder: Path) -> Iterator[Stack]:
    """Run fast servers that no other process uses. Their data is in memory if there is space, otherwise in `folder`."""
    _remove_abandoned()
    if _memory_has_room():
        with TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=_IN_MEMORY) as memory:
            Path(memory).chmod(0o755)
            with running_stack(Path(memory) / "stack") as stack:
                _make_fast(stack)
                yield stack
    else:
        with running_stack(folder) as stack:
            _make_fast(stack)
            yield stack


def _memory_has_room() -> bool:
    return _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM


@contextmanager
def running_stack(folder: Path, brokers: int | None = None) -> Iterator[Stack]:
    """Run servers with their data in `folder`, as users do, for the duration of the block."""
    folder.parent.chmod(0o755)  # PostgreSQL may run as another user
    local = LocalStack(folder, brokers)
    local.up()
    try:
        yield Stack(local.environment(), folder, local.database_admin_url)
    finally:
        local.down()


def kept_folder() -> Path | None:
    """Return the folder of the kept stack. None: this run starts its own stack.

    Raises:
        WrongModeError: `STREAMS_TEST_STACK` is neither empty nor `keep`.
    """
    mode = os.environ.get(MODE, "")
    if mode not in {"", "keep"}:
        raise WrongModeError(f"{MODE} is {mode!r}: write `keep`, or leave it out")
    return Path(os.environ.get(FOLDER) or ROOT / ".local-test").absolute() if mode else None


def kept_stack(folder: Path) -> Stack:
    """Return the servers in `folder`. They are started if they do not run, and keep running."""
    return replace(_started_stack(folder), shared=True)


def _started_stack(folder: Path) -> Stack:
    local = LocalStack(folder)
    local.up()
    stack = Stack(local.environment(), folder, local.database_admin_url)
    _make_fast(stack)
    return stack


def _make_fast(stack: Stack) -> None:
    """Turn off PostgreSQL's waiting for its disk, and make its passwords cheap: only a crash of the machine loses data.

    A login costs 4,096 hashes otherwise, on both sides, and a run of the tests opens some ten thousand connections.
    """
    with psycopg.connect(stack.database_admin_url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")
        connection.execute("set scram_iterations = 1")
        for url in (stack.database_admin_url, stack.environment["STREAMS_DATABASE_URL"]):
            account = make_url(url)
            connection.execute(f"alter role {account.username} password '{account.password}'")


def _remove_abandoned() -> None:
    """Stop and remove the servers of killed sessions."""
    for folder in _IN_MEMORY.glob(f"{_PREFIX}*"):
        pid = int(folder.name.removeprefix(_PREFIX).partition("-")[0])
        if folder.stat().st_uid == os.getuid() and not psutil.pid_exists(pid):
            LocalStack(folder / "stack").down()
            shutil.rmtree(folder, ignore_errors=True)
