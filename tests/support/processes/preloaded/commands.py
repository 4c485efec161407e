"""Starts the server of the preloaded commands, one per test process, and makes a folder for the PATH."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from shlex import quote

BIN = Path(sys.executable).parent
"""The folder of the real commands."""
ROOT = Path(__file__).parents[4]
COMMANDS = ("streams", "faust")
_SCRIPT = """#!/bin/sh
exec {python} -I -S {client} {address} {command} "$@"
"""


_enabled = False


def enable_preloading() -> None:
    """Fork the commands of this test process, unless their coverage is measured."""
    global _enabled  # noqa: PLW0603 - one switch per test process, set while its tests are collected
    _enabled = "coverage" not in sys.modules


def commands_folder() -> Path:
    """Return the folder with `streams` and `faust`: the preloaded ones if they are enabled, else the real ones."""
    return _preloaded() if _enabled else BIN


def kill(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Kill a command of a folder by SIGKILL. Returns once it is dead."""
    # A preloaded process is dead when the program that stands for it has ended so.
    process.send_signal(signal.SIGKILL if folder == BIN else signal.SIGQUIT)
    process.wait(10)


@cache
def _preloaded() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="commands-"))
    address = folder / "socket"
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("server.py"), address],
        # The libraries' threads would be lost by a fork.
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(_end, server, folder)
    assert server.stdout is not None
    assert server.stdout.readline(), "the server of the preloaded commands has ended; its error is above"
    for command in COMMANDS:
        made = folder / command
        client = Path(__file__).with_name("client.py")
        parts = (sys.executable, str(client), str(address))
        python, program, place = map(quote, parts)
        made.write_text(_SCRIPT.format(python=python, client=program, address=place, command=command))
        made.chmod(0o755)
    return folder


def _end(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait(10)
    shutil.rmtree(folder, ignore_errors=True)
