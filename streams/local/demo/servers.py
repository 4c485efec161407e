"""The demo's servers and its worker: real processes in a folder of their own, none of which outlives it."""

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streams.local.demo.claims import claim
from streams.local.demo.screen import Screen
from streams.local.process import ServerProcess, StartUp
from streams.local.stack import LocalStack, StackError
from streams.settings import Settings, load_settings

ATTEMPTS = 4
"""Runs of an indexing that the demo waits for, a second, two and four apart."""
SETTINGS = {"STREAMS_RETRY_DELAYS": "0s,1s,2s,4s"}
_OVERRIDES = f"""\
# Retries that a person can wait for; as declared, the first comes after ten seconds.
[handlers.index-document]
retry = {{ first = "1s", factor = 2, attempts = {ATTEMPTS}, jitter = 0 }}
"""
_MARK = ".made-by-the-demo"
_READY_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0
"""Seconds; longer than a worker's own drain, so that it is not killed in the middle of it."""


def demo_stack(local_dir: Path) -> LocalStack:
    """A new stack in the folder ``demo`` of the given one; what an earlier demo left there is stopped and removed.

    Raises StackError where the folder is not the demo's, ServerFailedError where something cannot be stopped.
    """
    folder = local_dir / "demo"
    if folder.exists():
        if any(folder.iterdir()) and not (folder / _MARK).exists():
            message = (
                f"{folder.absolute()} was not made by the demo: move it, or set STREAMS_LOCAL_DIR to another folder"
            )
            raise StackError(message)
        _worker_process(folder).stop()
        LocalStack(folder).down()
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    return LocalStack(folder)


def adopt_settings(stack: LocalStack) -> tuple[Settings, Mapping[str, str]]:
    """Make the stack's settings those of this process, whatever the shell says; also as a worker's environment."""
    overrides = stack.folder / "overrides.toml"
    overrides.write_text(_OVERRIDES)
    for name in [name for name in os.environ if name.startswith("STREAMS_")]:
        del os.environ[name]
    os.environ.update(stack.environment() | SETTINGS | {"STREAMS_OVERRIDES": str(overrides)})
    load_settings.cache_clear()
    return load_settings(), dict(os.environ)


class Worker:
    """`faust -A streams worker` in a process of its own, its log in the stack's folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str], port: int) -> None:
        self._process = _worker_process(folder)
        self._environment = {**environment, "STREAMS_LOG_FORMAT": "json"}
        self._port = port

    @property
    def log(self) -> Path:
        """Where its lines are."""
        return self._process.log

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    def start(self) -> None:
        """Return when it takes events. Raises ServerFailedError."""
        faust = Path(sys.executable).with_name("faust")
        command = [str(faust), "-A", "streams", "worker", "--web-port", str(self._port)]
        self._process.start(command, environment=dict(self._environment))
        self._process.wait_until(self._is_ready, StartUp(lambda _: None), timeout=_READY_TIMEOUT)

    def check_alive(self) -> None:
        """Raise ClaimError once it has ended by itself."""
        claim(holds=self._process.pid is not None, otherwise=f"the worker has ended, its log is {self.log}")

    def stop(self) -> None:
        """SIGTERM, and wait until it has drained."""
        self._process.stop()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health/ready", timeout=2) as page:
                return bool(page.status == 200)  # noqa: PLR2004 - HTTP's OK
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def running_worker(
    stack: LocalStack, settings: Settings, environment: Mapping[str, str], screen: Screen
) -> Iterator[Worker]:
    """A worker that takes events; stopped in the end. Raises ServerFailedError."""
    worker = Worker(stack.folder, environment, settings.web_port)
    try:
        with screen.status("starting a worker"):
            worker.start()
        screen.done(f"a worker (`faust -A streams worker`) is ready, process {worker.pid}")
        yield worker
    finally:
        worker.stop()


def _worker_process(folder: Path) -> ServerProcess:
    return ServerProcess("the worker", folder / "worker", stop_timeout=_STOP_TIMEOUT)
