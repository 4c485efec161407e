"""Driving the real thing in tests: worker processes, waiting for conditions, looking into the database."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, text

from schemas import Event
from streams.codec import build_codec
from streams.publishing import EventProducer
from streams.settings import Settings
from streams.topics import load_catalogue

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds after which a condition that does not come is a failure."""
START = 60.0
"""Seconds that a worker may take to be ready: on a machine that does much else, its imports alone take ten."""
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[3]


def wait_for(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The condition's first truthy value; fails, naming what was waited for and what was last seen."""
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
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class WorkerProcess:
    """`faust -A streams worker` as operators start it, with its output in a file."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, *, prefix: Sequence[str] = (), **settings: str
    ) -> None:
        """`prefix`: a command that becomes the worker in the end, such as `env`."""
        self.port = free_port()
        self._prefix = prefix
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
        """Start; returns when it is ready to take events."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._prefix, BIN / "faust", "-A", "streams", "worker", "--web-port", str(self.port)],
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
        """Status and body of a web page; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def stop(self, *, within: float = 25.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self) -> None:
        """SIGKILL, as a machine that goes away."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code of a worker that ends by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def output(self) -> str:
        """All that it wrote so far."""
        return self.log.read_text(errors="replace")

    def lines(self) -> list[dict[str, object]]:
        """Its log lines."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


class Streams:
    """The `streams` command in a process of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command; its exit code, output and errors."""
        return subprocess.run(
            [BIN / "streams", *arguments],
            env=self.environment,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=seconds,
            check=False,
        )

    def json(self, *arguments: str, stdin: str | None = None) -> object:
        """A command's JSON; fails where it fails."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def publish(settings: Settings, events: Iterable[Event]) -> int:
    """Publish straight to Kafka; how many were acknowledged."""
    with EventProducer(settings, codec=build_codec(settings, load_catalogue(settings))) as producer:
        return producer.publish_many(events)


def rows(engine: Engine, sql: str, **parameters: object) -> Sequence[dict[str, object]]:
    """The rows of a query as dictionaries."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(sql), parameters).mappings()]


def scalar(engine: Engine, sql: str, **parameters: object) -> object:
    """The one value of a query."""
    with engine.connect() as connection:
        return connection.execute(text(sql), parameters).scalar_one()
