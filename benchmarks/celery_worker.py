"""Runs a Celery worker on the tasks of the contender, with one process per core."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.environment import Sandbox
from benchmarks.messages import ROOT
from streams.local.process import ServerProcess

_STOP_TIMEOUT = 20.0
_PROCESSES = 2


@contextmanager
def celery_worker(sandbox: Sandbox) -> Iterator[None]:
    """Start the worker; stop it at the end. The broker is the sandbox's Redis."""
    worker = ServerProcess("Celery", sandbox.folder / "celery", stop_timeout=_STOP_TIMEOUT)
    broker = ("-b", sandbox.environment["STREAMS_REDIS_URL"])
    options = ("-c", str(_PROCESSES), "-l", "warning")
    worker.start(
        [sys.executable, "-m", "celery", "-A", "benchmarks.contenders.celery_tasks", *broker, "worker", *options],
        environment={**sandbox.environment, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield
    finally:
        worker.stop()
