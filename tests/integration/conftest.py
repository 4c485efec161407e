"""The real local stack, once a session; a database, topics and names of its own for every test."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from streams.database import sync_engine
from streams.database.migrations import upgrade
from streams.local.stack import LocalStack
from streams.operations.topics.apply import apply, plan_topics
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from tests.support.cli import Commands
from tests.support.processes.worker_process import Streams, WorkerProcess

TEMPLATE = "streams_template"
PARTITIONS = 2
"""Of each topic of a test that says no other number: a broker takes a second for the topics of a test with four."""


@dataclass(frozen=True)
class Stack:
    """The servers of this session."""

    environment: dict[str, str]
    folder: Path


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka, PostgreSQL and Redis; gone when the session ends."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@contextmanager
def running_stack(folder: Path, brokers: int | None = None) -> Iterator[Stack]:
    """Servers whose data is in that folder, stopped in the end."""
    folder.parent.chmod(0o755)  # PostgreSQL may run as another user
    local = LocalStack(folder, brokers)
    local.up()
    try:
        yield Stack(local.environment(), folder)
    finally:
        local.down()


@pytest.fixture(scope="session")
def template(stack: Stack) -> str:
    """A database with the platform's tables and ours, to copy from."""
    return make_template(stack)


def make_template(stack: Stack) -> str:
    """Make that database on a stack's server; its name."""
    server = make_url(stack.environment["STREAMS_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    with create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"create database {TEMPLATE} template {server.database}"))
    url = server.set(database=TEMPLATE, drivername="postgresql").render_as_string(hide_password=False)
    upgrade(Settings(database_url=url))
    return TEMPLATE


@pytest.fixture(scope="session")
def partitions() -> int:
    """Of each topic."""
    return PARTITIONS


@pytest.fixture
def environment(stack: Stack, template: str, tmp_path: Path, partitions: int) -> Iterator[dict[str, str]]:
    """The settings of one test as a shell would have them: own names, own database, short retries."""
    with own_environment(stack, template, tmp_path, partitions) as environment:
        yield environment


@contextmanager
def own_environment(
    stack: Stack, template: str, folder: Path, partitions: int = PARTITIONS
) -> Iterator[dict[str, str]]:
    """The same, for as long as it is entered; the storage is in that folder."""
    name = f"t{uuid4().hex[:10]}"
    server = make_url(stack.environment["STREAMS_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    admin = create_engine(server, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    with admin.connect() as connection:
        connection.execute(text(f"create database {name} template {template}"))
    yield {
        **stack.environment,
        "STREAMS_APPLICATION": name,
        "STREAMS_TOPIC_PREFIX": f"{name}.",
        "STREAMS_DATABASE_URL": server.set(database=name, drivername="postgresql").render_as_string(
            hide_password=False
        ),
        "STREAMS_STORAGE_URL": f"file:{folder / 'storage'}",
        "STREAMS_RETRY_DELAYS": "0s,1s,2s,4s",
        "STREAMS_PARTITIONS": str(partitions),
    }
    with admin.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))
    admin.dispose()


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same, in this process."""
    for name in [name for name in os.environ if name.startswith("STREAMS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.fixture
def database_url(settings: Settings) -> str:
    """A migrated database of this test alone, with the platform's tables."""
    return settings.database_url.get_secret_value()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """A synchronous engine on the test's database."""
    made = sync_engine(settings)
    yield made
    made.dispose()


@pytest.fixture
def topics(settings: Settings) -> Settings:
    """The catalogue's topics exist."""
    make_topics(settings)
    return settings


def make_topics(settings: Settings) -> None:
    """Make the catalogue's topics."""
    apply(settings, plan_topics(settings, build_catalogue(settings)).changes)


def settings_in(environment: dict[str, str]) -> Settings:
    """What a process with that environment has, without setting it in this one."""
    return Settings.model_validate({name.removeprefix("STREAMS_").lower(): v for name, v in environment.items()})


@pytest.fixture
def make_topic(settings: Settings) -> Callable[[str, int], None]:
    """Makes one topic by its full name."""

    def make(name: str, partitions: int = 1) -> None:
        admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(10)

    return make


@pytest.fixture
def streams(environment: dict[str, str]) -> Streams:
    """The `streams` command with the test's settings."""
    return Streams(environment)


@pytest.fixture
def protocol() -> str:
    """The group protocol of the test's workers."""
    return "cooperative"


@pytest.fixture
def worker(environment: dict[str, str], protocol: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Makes worker processes; whatever still runs at the end is killed."""
    made: list[WorkerProcess] = []

    def make(prefix: Sequence[str] = (), **settings: str) -> WorkerProcess:
        wanted = {"STREAMS_GROUP_PROTOCOL": protocol, **settings}
        one = WorkerProcess(environment, tmp_path / f"worker-{len(made)}.log", prefix=prefix, **wanted)
        made.append(one)
        return one

    yield make
    for one in made:
        one.kill()
        # Shown by pytest where the test failed.
        sys.stdout.write(f"--- {one.log.name}\n{one.output()[-6000:]}\n")


@pytest.fixture
def commands(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The `streams` command with the test's settings, in this process."""
    assert settings.application
    return Commands(monkeypatch, capsys)
