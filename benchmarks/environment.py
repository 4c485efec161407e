"""The servers of the benchmarks: one local stack, and a database, topics and storage per benchmark."""

import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.memory import MemoryWatch
from streams.database import sync_engine
from streams.database.migrations import upgrade
from streams.local.process import ServerProcess, StartUp
from streams.local.stack import LocalStack
from streams.operations.topics.apply import apply, plan_topics
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings

_READY_TIMEOUT = 60.0
_STOP_TIMEOUT = 40.0
_PAUSE = 0.1


def say(line: str) -> None:
    """Print progress to stderr."""
    sys.stderr.write(f"{line}\n")


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until the condition is true. Raises TimeoutError that names `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s for {what}"
            raise TimeoutError(message)
        time.sleep(_PAUSE)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The database, topics and storage of one benchmark."""

    folder: Path
    environment: Mapping[str, str]
    settings: Settings
    engine: Engine

    def scalar(self, query: str, **values: object) -> int:
        """Return a number from the database."""
        with self.engine.connect() as connection:
            return int(connection.execute(text(query), values).scalar() or 0)

    @contextmanager
    def worker(self) -> Iterator[MemoryWatch]:
        """Start a worker and watch its memory; stop it at the end."""
        process = ServerProcess("the worker", self.folder / "worker", stop_timeout=_STOP_TIMEOUT)
        faust = Path(sys.executable).with_name("faust")
        port = self.settings.web_port
        process.start(
            [str(faust), "-A", "streams", "worker", "--web-port", str(port)], environment=dict(self.environment)
        )
        try:
            process.wait_until(lambda: _is_ready(port), StartUp(lambda _: None), timeout=_READY_TIMEOUT)
            with MemoryWatch(process.pid or 0) as watch:
                yield watch
        finally:
            process.stop()


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of one run."""

    folder: Path
    settings: Mapping[str, str]
    """The settings of the stack."""
    admin_url: str
    """The superuser's: only that role may drop a database on which autovacuum works."""

    @contextmanager
    def sandbox(self, name: str, **settings: str) -> Iterator[Sandbox]:
        """Create the resources of one benchmark and use its settings in this process; remove them at the end."""
        unique = f"{name}{uuid4().hex[:6]}"
        server = make_url(self.settings["STREAMS_DATABASE_URL"]).set(drivername="postgresql+psycopg")
        admin = create_engine(server, isolation_level="AUTOCOMMIT")
        folder = self.folder / unique
        folder.mkdir()
        url = server.set(database=unique, drivername="postgresql").render_as_string(hide_password=False)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("STREAMS_")},
            **self.settings,
            "STREAMS_APPLICATION": unique,
            "STREAMS_TOPIC_PREFIX": f"{unique}.",
            "STREAMS_DATABASE_URL": url,
            "STREAMS_STORAGE_URL": f"file:{folder / 'storage'}",
            "STREAMS_LOG_FORMAT": "json",
            "STREAMS_LOG_LEVEL": "warning",
            **settings,
        }
        with admin.connect() as connection:
            connection.execute(text(f"create database {unique} template {server.database}"))
        try:
            with _adopted(environment) as adopted:
                upgrade(adopted)
                apply(adopted, plan_topics(adopted, build_catalogue(adopted)).changes)
                engine = sync_engine(adopted)
                yield Sandbox(folder, environment, adopted, engine)
                engine.dispose()
        finally:
            admin.dispose()
            superuser = create_engine(
                make_url(self.admin_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
            )
            with superuser.connect() as connection:
                connection.execute(text(f"drop database {unique} with (force)"))
            superuser.dispose()


@contextmanager
def start_servers() -> Iterator[Servers]:
    """Start a stack in a temporary folder; stop and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="streams-bench-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    stack = LocalStack(folder / "stack")
    try:
        say("starting Kafka, PostgreSQL and Redis")
        stack.up()
        yield Servers(folder, stack.environment(), stack.database_admin_url)
    finally:
        stack.down()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _adopted(environment: Mapping[str, str]) -> Iterator[Settings]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    load_settings.cache_clear()
    try:
        yield load_settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
        load_settings.cache_clear()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as page:
            return bool(page.status == 200)  # noqa: PLR2004 - HTTP's OK
    except (urllib.error.URLError, OSError):
        return False
