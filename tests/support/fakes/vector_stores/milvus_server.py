"""Milvus itself, as its makers embed it in the package milvus-lite: the server's core in one process, on one file.

It knows no HNSW index (AUTOINDEX takes its place) and checks no login.
"""

import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.processes.worker_process import free_port

START_SECONDS = 60


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """Start the server with its file in a folder, and yield its URI. Skip the test without the packages."""
    package = find_spec("milvus_lite")  # The package itself needs an older setuptools than this environment has.
    if package is None or package.submodule_search_locations is None or find_spec("pymilvus") is None:
        pytest.skip("pymilvus and milvus-lite are not installed")
    libraries = Path(package.submodule_search_locations[0]) / "lib"
    folder.mkdir(parents=True, exist_ok=True)
    port, lock_file = free_port(), folder / "lock"
    with lock_file.open("w") as lock:
        # The server ends when nobody holds this lock: also when this process is killed.
        fcntl.lockf(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [libraries / "milvus", folder / "milvus.db", f"127.0.0.1:{port}", "FATAL", lock_file],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, f"milvus-lite ended with {process.returncode}"
            assert time.monotonic() < deadline, "milvus-lite does not listen"
            time.sleep(0.05)
        else:
            return
