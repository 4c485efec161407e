"""Kills and restarts the servers of the local stack."""

import os
import signal
from pathlib import Path

from streams.local.stack import LocalStack
from tests.integration.conftest import Stack
from tests.support.processes.worker_process import wait_for


def kill_server(stack: Stack, name: str) -> None:
    """Send SIGKILL to a server, by its name in `streams local status`."""
    os.kill(pid_of(stack, name), signal.SIGKILL)
    wait_for(lambda: _pid(stack, name) is None, f"{name} to end")


def restore(stack: Stack) -> None:
    """Start the servers that do not run. Returns when all of them answer."""
    LocalStack(stack.folder).up()


def pid_of(stack: Stack, name: str) -> int:
    """Return the process id of a running server."""
    pid = _pid(stack, name)
    assert pid is not None, f"{name} does not run"
    return pid


def _pid(stack: Stack, name: str) -> int | None:
    (found,) = [status for status in LocalStack(Path(stack.folder)).status() if status.name == name]
    return found.pid
