"""Breaking and mending the servers of the local stack."""

import os
import signal
from pathlib import Path

from streams.local.stack import LocalStack
from tests.integration.conftest import Stack
from tests.support.processes.worker_process import wait_for


def kill_server(stack: Stack, name: str) -> None:
    """SIGKILL, as when its machine goes away; names as in `streams local status`."""
    os.kill(pid_of(stack, name), signal.SIGKILL)
    wait_for(lambda: _pid(stack, name) is None, f"{name} to be gone")


def restore(stack: Stack) -> None:
    """Start again what does not run; returns when all answer."""
    LocalStack(stack.folder).up()


def pid_of(stack: Stack, name: str) -> int:
    """The process of a server that runs."""
    pid = _pid(stack, name)
    assert pid is not None, f"{name} does not run"
    return pid


def _pid(stack: Stack, name: str) -> int | None:
    (found,) = [status for status in LocalStack(Path(stack.folder)).status() if status.name == name]
    return found.pid
