"""The demo's servers and worker: real processes in their own folder. The worker ends with the demo."""

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streams.local.demo.checks import check
from streams.local.demo.screen import Screen
from streams.local.process import ServerProcess, StartUp
from streams.local.stack import LocalStack, StackError
from streams.settings import Settings, load_settings

ATTEMPTS = 4
"""The number of runs of an indexing in the demo, one, two and four seconds apart."""
RETRY_DELAYS = (0.0, 1.0, 2.0, 4.0)
"""Seconds."""
SETTINGS = {"STREAMS_RETRY_DELAYS": ",".join(f"{delay:g}s" for delay in RETRY_DELAYS)}
_OVERRIDES = f"""\
# Retries that a person can wait for; as declared, the first comes after ten seconds.
[handlers.index-document]
retry = {{ first = "1s", factor = 2, attempts = {ATTEMPTS}, jitter = 0 }}
"""
_MARK = ".made-by-the-demo"
_READY_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0
"""Seconds; longer than the drain of a worker, so that it is not killed during its drain."""


def demo_stack(local_dir: Path) -> LocalStack:
    """Return a new stack in the folder ``demo`` of `local_dir`. An earlier demo in it is stopped and removed.

    Raises StackError if the folder is not the demo's, ServerFailedError if a server cannot be stopped.
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
    """Use the stack's settings in this process, not the shell's. Returns them and a worker's environment."""
    overrides = stack.folder / "overrides.toml"
    overrides.write_text(_OVERRIDES)
    for name in [name for name in os.environ if name.startswith("STREAMS_")]:
        del os.environ[name]
    os.environ.update(stack.environment() | SETTINGS | {"STREAMS_OVERRIDES": str(overrides)})
    load_settings.cache_clear()
    return load_settings(), dict(os.environ)


class Worker:
    """Runs `faust -A streams worker` as a process. Its log is in the stack's folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str], port: int) -> None:
        self._process = _worker_process(folder)
        self._environment = {**environment, "STREAMS_LOG_FORMAT": "json"}
        self._port = port

    @property
    def log(self) -> Path:
        """Return the path of its log."""
        return self._process.log

    @property
    def pid(self) -> int | None:
        """Return its process id while it is running."""
        return self._process.pid

    def start(self) -> None:
        """Start the worker and wait until it accepts events. Raises ServerFailedError."""
        faust = Path(sys.executable).with_name("faust")
        command = [str(faust), "-A", "streams", "worker", "--web-port", str(self._port)]
        self._process.start(command, environment=dict(self._environment))
        self._process.wait_until(self._is_ready, StartUp(lambda _: None), timeout=_READY_TIMEOUT)

    def check_alive(self) -> None:
        """Raise ClaimError if the worker has ended by itself."""
        check(condition=self._process.pid is not None, message=f"the worker has ended, its log is {self.log}")

    def stop(self) -> None:
        """Send SIGTERM and wait until the worker has drained."""
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
    """Start a worker and yield it; stop it at the end. Raises ServerFailedError."""
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
