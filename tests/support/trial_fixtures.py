"""Fixtures for tests that run trial events on real workers. Import them into a test module.

`environment` and `trial` belong to one test. `trials_running` starts one worker for several tests, each of which
checks only its own events.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Engine, text

from schemas import Event
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from tests.integration.conftest import make_topics, settings_in
from tests.support.apps import trials
from tests.support.cli import Commands
from tests.support.local_stack.databases import polling_engine
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for

PACKAGE = trials.__name__


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the test's settings, with the trial events for every process."""
    return with_trials(environment, tmp_path)


def with_trials(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Return the settings with the trial events for every process. The schemas are written to `folder`."""
    short = {"STREAMS_LEASE_SECONDS": "3s", "STREAMS_SWEEP_INTERVAL": "1s"}
    return {**with_package(environment, folder, PACKAGE), **short}


def with_package(environment: dict[str, str], folder: Path, package: str) -> dict[str, str]:
    """Return the settings with the events of a package for every process. The schemas are written to `folder`."""
    registry = folder / "registry"
    registry.mkdir()
    for name, content in _exported(package).items():
        (registry / name).write_bytes(content)
    return {**environment, "STREAMS_HANDLERS": package, "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}"}


@cache
def _exported(package: str) -> Mapping[str, bytes]:
    """Return the files of a registry with the events of a package. To make them takes a tenth of a second."""
    with TemporaryDirectory() as folder:
        export(build_catalogue(Settings(handlers=(package,))), Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


@pytest.fixture
def trial(topics: Settings, engine: Engine) -> Settings:
    """Create the topics and the table of effects."""
    make_table(engine)
    return topics


def make_table(engine: Engine) -> None:
    """Create the table of effects."""
    with engine.begin() as connection:
        connection.execute(text(trials.TABLE))


def with_registry(trial: Settings, url: str) -> Settings:
    """Return the trial's settings with a registry over HTTP. The schema files stay the same."""
    files = trial.schema_registry_url.removeprefix("file:")
    return Settings.model_validate({**trial.model_dump(), "schema_registry_url": url, "schema_files": files})


@dataclass(frozen=True)
class TrialRun:
    """A running worker, its settings and its database."""

    settings: Settings
    engine: Engine
    streams: Commands

    def publish(self, *events: Event) -> None:
        """Publish events directly to Kafka."""
        assert publish(self.settings, events) == len(events)

    def ended(self, *events: Event, seconds: float = 30.0) -> list[dict[str, object]]:
        """Wait until every event has succeeded or failed. Returns the executions."""
        ids = [event.event_id for event in events]
        ended = (
            "select count(*) from streams.executions where event_id = any(:ids) and status in ('success', 'failure')"
        )
        wait_for(lambda: scalar(self.engine, ended, ids=ids) == len(set(ids)), "every execution to end", seconds)
        return list(rows(self.engine, "select * from streams.executions where event_id = any(:ids)", ids=ids))

    def effects(self, *events: Event) -> list[dict[str, object]]:
        """Return the rows that handlers wrote for these events, in order."""
        ids = [event.event_id for event in events]
        return list(rows(self.engine, "select * from trials where event_id = any(:ids) order by id", ids=ids))

    def letters(self, event: Event) -> Sequence[dict[str, object]]:
        """Return the dead letters of an event, as `streams dlq list` reports them."""
        found = self.streams.json("dlq", "list", "--event", str(event.event_id))
        assert isinstance(found, list)
        return found


@contextmanager
def trials_running(environment: dict[str, str], folder: Path) -> Iterator[TrialRun]:
    """Create topics and the table of effects, and run a worker. At the end the worker must stop with code 0."""
    environment = with_trials(environment, folder)
    settings = settings_in(environment)
    make_topics(settings)
    engine = polling_engine(settings)
    make_table(engine)
    worker = WorkerProcess(environment, folder / "worker.log").start()
    try:
        yield TrialRun(settings, engine, Commands(environment))
        assert worker.stop() == 0, worker.output()[-6000:]
    finally:
        worker.kill()
        engine.dispose()
