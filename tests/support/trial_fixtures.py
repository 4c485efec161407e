"""Fixtures for tests that drive trial events through real workers; import them into a test module.

`environment` and `trial` are a test's own; `trials_of_the_file` is one worker that serves all tests of a file, each of
which looks at its own events alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from schemas import Event
from streams.database import sync_engine
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from tests.integration.conftest import make_topics, settings_in
from tests.support.apps import trials
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for

PACKAGE = trials.__name__


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The test's settings, with the trial events known to every process."""
    return with_trials(environment, tmp_path)


def with_trials(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """The same settings, with the trial events known to every process."""
    registry = folder / "registry"
    export(build_catalogue(Settings(handlers=(PACKAGE,))), registry)
    return {
        **environment,
        "STREAMS_HANDLERS": PACKAGE,
        "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
        "STREAMS_LEASE_SECONDS": "3s",
        "STREAMS_SWEEP_INTERVAL": "1s",
    }


@pytest.fixture
def trial(topics: Settings, engine: Engine) -> Settings:
    """Topics and the effects' table exist."""
    make_table(engine)
    return topics


def make_table(engine: Engine) -> None:
    """Where the trials' effects go."""
    with engine.begin() as connection:
        connection.execute(text(trials.TABLE))


def with_registry(trial: Settings, url: str) -> Settings:
    """The trial's settings with a registry over HTTP; its files are what the classes stand for, as before."""
    files = trial.schema_registry_url.removeprefix("file:")
    return Settings.model_validate({**trial.model_dump(), "schema_registry_url": url, "schema_files": files})


@dataclass(frozen=True)
class TrialRun:
    """A worker under way, its settings and its database."""

    settings: Settings
    engine: Engine
    streams: Commands

    def publish(self, *events: Event) -> None:
        """Publish straight to Kafka."""
        assert publish(self.settings, events) == len(events)

    def ended(self, *events: Event, seconds: float = 30.0) -> list[dict[str, object]]:
        """The executions of these events, once each has come to its end."""
        ids = [event.event_id for event in events]
        ended = (
            "select count(*) from streams.executions where event_id = any(:ids) and status in ('success', 'failure')"
        )
        wait_for(lambda: scalar(self.engine, ended, ids=ids) == len(set(ids)), "every end", seconds)
        return list(rows(self.engine, "select * from streams.executions where event_id = any(:ids)", ids=ids))

    def effects(self, *events: Event) -> list[dict[str, object]]:
        """The rows that handlers wrote for these events, in order."""
        ids = [event.event_id for event in events]
        return list(rows(self.engine, "select * from trials where event_id = any(:ids) order by id", ids=ids))

    def letters(self, event: Event) -> Sequence[dict[str, object]]:
        """What `streams dlq list` has of an event."""
        found = self.streams.json("dlq", "list", "--event", str(event.event_id))
        assert isinstance(found, list)
        return found


@contextmanager
def trials_running(environment: dict[str, str], folder: Path) -> Iterator[TrialRun]:
    """Topics, the effects' table and a worker that is ready; in the end the worker has to leave in order."""
    environment = with_trials(environment, folder)
    settings = settings_in(environment)
    make_topics(settings)
    engine = sync_engine(settings)
    make_table(engine)
    worker = WorkerProcess(environment, folder / "worker.log").start()
    try:
        yield TrialRun(settings, engine, Commands(environment))
        assert worker.stop() == 0, worker.output()[-6000:]
    finally:
        worker.kill()
        engine.dispose()
