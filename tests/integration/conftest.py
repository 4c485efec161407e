"""Fixtures of the integration tests: one local stack per session; own database, topics and names per test."""

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic
from sqlalchemy import Engine

from streams.codec import default_codec
from streams.operations.topics.apply import apply, plan_topics
from streams.runtime.declarations import build_catalogue
from streams.settings import POOL_NAMES, Settings, load_settings
from streams.topics import BUILT_IN
from tests.support.cli import Commands
from tests.support.local_stack.cluster import admin_client, delete_topics, topic_names
from tests.support.local_stack.database_pool import pooled_database
from tests.support.local_stack.databases import make_template, polling_engine
from tests.support.local_stack.leftovers import register_run
from tests.support.local_stack.stack import (
    FOLDER,
    MODE,
    Stack,
    kept_folder,
    kept_stack,
    own_stack,
    run_stack,
    running_stack,
)
from tests.support.processes.preloaded import enable_preloading
from tests.support.processes.worker_process import Streams, WorkerProcess, wait_for

PARTITIONS = 2
"""The default partitions per topic. With four, a broker needs a second to create the topics of one test."""

NEED_ALL_TOPICS = {"commands", "streams"}
"""The fixtures with commands that look at the whole catalogue."""

__all__ = ["Stack", "make_template", "running_stack"]


@pytest.fixture(scope="session", autouse=True)
def preloaded() -> None:
    """Fork workers and commands from a process that has loaded their modules. The crash tests start the real ones."""
    enable_preloading()


@pytest.fixture(scope="session", autouse=True)
def kept() -> Path | None:
    """Return the folder of the kept stack, and remove its settings from the environment of the tests' processes."""
    folder = kept_folder()
    for name in (MODE, FOLDER):
        os.environ.pop(name, None)
    return folder


@pytest.fixture(scope="session")
def shared_stack(kept: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run Kafka, PostgreSQL and Redis for this run's processes, or use the kept ones."""
    if kept is None:
        base = tmp_path_factory.getbasetemp()
        with run_stack(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as stack:
            yield stack
    else:
        stack = kept_stack(kept)
        with register_run(stack):
            yield stack


@pytest.fixture(scope="session")
def breakable_stack(shared_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return servers that no other process uses. A test may stop or freeze them, and must restore them."""
    if shared_stack.shared:
        with own_stack(tmp_path_factory.mktemp("breakable")) as stack:
            yield stack
    else:
        yield shared_stack


@pytest.fixture(scope="session")
def stack(shared_stack: Stack) -> Stack:
    """Return the servers of the test. A module that breaks servers overrides this with `breakable_stack`."""
    return shared_stack


@pytest.fixture(scope="session")
def template(stack: Stack) -> str:
    """Return the template database, with the platform's tables and ours."""
    return make_template(stack)


@pytest.fixture(scope="session")
def partitions() -> int:
    """Return the number of partitions of each topic."""
    return PARTITIONS


@pytest.fixture
def environment(stack: Stack, template: str, tmp_path: Path, partitions: int) -> Iterator[dict[str, str]]:
    """Return the settings of one test as environment variables: own names, own database, short retries."""
    with own_environment(stack, template, tmp_path, partitions) as environment:
        yield environment


@contextmanager
def own_environment(
    stack: Stack, template: str, folder: Path, partitions: int = PARTITIONS
) -> Iterator[dict[str, str]]:
    """Create the settings of one test for the duration of the block.

    Args:
        stack: The servers.
        template: The template database.
        folder: The folder of the file storage.
        partitions: Partitions per topic.
    """
    name = stack.fresh_name()
    with pooled_database(stack, template, name) as database:
        yield {
            **stack.environment,
            "STREAMS_APPLICATION": name,
            "STREAMS_TOPIC_PREFIX": f"{name}.",
            "STREAMS_DATABASE_URL": database,
            "STREAMS_STORAGE_URL": f"file:{folder / 'storage'}",
            "STREAMS_RETRY_DELAYS": "0s,1s,2s,4s",
            "STREAMS_PARTITIONS": str(partitions),
        }
    delete_topics(stack.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"], name)


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Apply the test's settings to this process."""
    for name in [name for name in os.environ if name.startswith("STREAMS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _forget_settings()
    yield Settings()
    _forget_settings()


def _forget_settings() -> None:
    """Clear the settings and the codec that this process has cached."""
    load_settings.cache_clear()
    default_codec.cache_clear()


@pytest.fixture
def database_url(settings: Settings) -> str:
    """Return the URL of the test's own migrated database, with the platform's tables."""
    return settings.database_url.get_secret_value()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """Return a synchronous engine on the test's database."""
    made = polling_engine(settings)
    yield made
    made.dispose()


@pytest.fixture
def topics(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Create the catalogue's topics, or only those that the test needs.

    The mark `topics` names the built-in ones that a module needs, besides those of its workers. An engine with trial
    events, in the test's own process, needs none of them.
    """
    mark = request.node.get_closest_marker("topics")
    built_in: Collection[str] | None = None
    if "worker" not in request.fixturenames:
        in_process = "trial" in request.fixturenames and NEED_ALL_TOPICS.isdisjoint(request.fixturenames)
        built_in = mark.args if mark else () if in_process else None
    make_topics(settings, built_in)
    return settings


def make_topics(settings: Settings, built_in: Collection[str] | None = None) -> None:
    """Create the catalogue's topics. A broker needs 2 ms of processor time to create a topic and to delete it.

    Args:
        settings: The settings.
        built_in: The built-in events that need topics, by their names; None: all.
    """
    catalogue = build_catalogue(settings)
    changes = plan_topics(settings, catalogue).changes
    if built_in is not None:
        kept = {*map(catalogue.fallback, POOL_NAMES), *map(catalogue.topic, built_in)}
        names = {catalogue.of(topic.event).name for topic in BUILT_IN} - {topic.name for topic in kept}
        left_out = {*names, *map(catalogue.dlq, names)}
        changes = tuple(change for change in changes if change.spec.name not in left_out)
    apply(settings, changes)


def settings_in(environment: dict[str, str]) -> Settings:
    """Return the settings of a process with this environment."""
    return Settings.model_validate({name.removeprefix("STREAMS_").lower(): v for name, v in environment.items()})


@pytest.fixture
def make_topic(settings: Settings) -> Callable[[str, int], None]:
    """Return a function that creates one topic by its full name."""

    def make(name: str, partitions: int = 1) -> None:
        servers = settings.kafka_bootstrap_servers
        admin_client(servers).create_topics([NewTopic(name, partitions, 1)])[name].result(10)
        # The brokers confirm a creation before they apply it.
        wait_for(lambda: name in topic_names(servers), "the topic to be there")

    return make


@pytest.fixture
def streams(environment: dict[str, str]) -> Streams:
    """Return the `streams` command with the test's settings, in its own process."""
    return Streams(environment)


@pytest.fixture
def protocol() -> str:
    """Return the group protocol of the test's workers."""
    return "cooperative"


@pytest.fixture
def worker(environment: dict[str, str], protocol: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Return a function that creates worker processes. Those that still run at the end are killed."""
    made: list[WorkerProcess] = []

    def make(prefix: Sequence[str] = (), *, preloaded: bool = True, **settings: str) -> WorkerProcess:
        variables = {"STREAMS_GROUP_PROTOCOL": protocol, **settings}
        log = tmp_path / f"worker-{len(made)}.log"
        one = WorkerProcess(environment, log, prefix=prefix, preloaded=preloaded, **variables)
        made.append(one)
        return one

    yield make
    for one in made:
        one.kill()
        # pytest shows it if the test failed.
        sys.stdout.write(f"--- {one.log.name}\n{one.output()[-6000:]}\n")


@pytest.fixture
def commands(environment: dict[str, str]) -> Commands:
    """Return the `streams` command with the test's settings, in this process."""
    return Commands(environment)
