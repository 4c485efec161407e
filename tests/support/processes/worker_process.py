"""Worker processes and commands, waiting for conditions, and queries of the database."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx
from sqlalchemy import Engine, text

from schemas import Event
from streams.codec import build_codec
from streams.publishing import EventProducer
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.processes.preloaded import BIN, commands_folder, kill

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds after which an unmet condition fails a test."""
START = 60.0
"""Seconds that a worker may need to be ready. On a busy machine its imports alone take ten."""
ROOT = Path(__file__).parents[3]


def wait_for(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Wait for a truthy value of the condition and return it. Fails with `what` and the last value after `seconds`.

    Args:
        condition: Called every 50 ms.
        what: What is waited for, for the message.
        seconds: How long to wait.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = condition()
        if seen:
            return seen
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s for {what}; last seen: {seen!r}"
            raise AssertionError(message)
        time.sleep(0.05)


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class WorkerProcess:
    """A process of `faust -A streams worker`, started as operators do, with its output in a file."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        *,
        prefix: Sequence[str] = (),
        preloaded: bool = True,
        **settings: str,
    ) -> None:
        """Describe a worker that is not started yet.

        Args:
            environment: Environment variables.
            log: The file for the output.
            prefix: A command that runs the worker, such as `env`.
            preloaded: Whether the process may be a preloaded one; False where its own id is needed.
            settings: Further environment variables.
        """
        self.port = free_port()
        self._prefix = prefix
        self._folder = commands_folder() if preloaded and not prefix else BIN
        self.log = log
        self.environment = {
            **os.environ,
            **environment,
            "STREAMS_WEB_PORT": str(self.port),
            "STREAMS_LOG_FORMAT": "json",
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> "WorkerProcess":
        """Start the worker. With `ready`, it returns once the worker is ready for events."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._prefix, self._folder / "faust", "-A", "streams", "worker", "--web-port", str(self.port)],
                env=self.environment,
                stdout=output,
                stderr=output,
                cwd=self.log.parent,
            )
        if ready:
            wait_for(lambda: self.page("/health/ready")[0] == 200 or self._ended(), "the worker to be ready", START)
            assert not self._ended(), f"ended with {self.process.returncode}: {self.output()}"
        return self

    def page(self, path: str) -> tuple[int, str]:
        """Return the status and body of a web page; status 0 while the port is closed."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def post(self, path: str, body: str, **headers: str) -> tuple[int, str]:
        """Return the status and body of the answer to a POST."""
        answer = httpx.post(f"http://127.0.0.1:{self.port}{path}", content=body, headers=headers, timeout=5)
        return answer.status_code, answer.text

    def stop(self, *, within: float = 25.0) -> int:
        """Send SIGTERM and return the exit code. `within`: how long to wait, in seconds."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self) -> None:
        """Send SIGKILL, if the worker runs."""
        if self.process is not None and self.process.poll() is None:
            kill(self.process, self._folder)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until the worker ends by itself. Returns the exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def output(self) -> str:
        """Return the output so far."""
        return self.log.read_text(errors="replace")

    def lines(self) -> list[dict[str, object]]:
        """Return the JSON lines of the log."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


class Streams:
    """The `streams` command in a process of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command. Returns its exit code, output and errors."""
        return subprocess.run(
            [commands_folder() / "streams", *arguments],
            env=self.environment,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=seconds,
            check=False,
        )

    def json(self, *arguments: str, stdin: str | None = None) -> object:
        """Return a command's JSON. The test fails if the command fails."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def publish(settings: Settings, events: Iterable[Event]) -> int:
    """Publish events directly to Kafka. Returns how many were acknowledged."""
    with EventProducer(settings, codec=build_codec(settings, load_catalogue(settings))) as producer:
        return producer.publish_many(events)


def rows(engine: Engine, sql: str, **parameters: object) -> Sequence[dict[str, object]]:
    """Return the rows of a query as dictionaries."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(sql), parameters).mappings()]


def scalar(engine: Engine, sql: str, **parameters: object) -> object:
    """Return the only value of a query."""
    with engine.connect() as connection:
        return connection.execute(text(sql), parameters).scalar_one()
