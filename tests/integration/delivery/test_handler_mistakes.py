"""Handlers that use the API wrongly, and a handler that loses its lease."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from schemas import Event
from streams.database import sync_engine
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from tests.integration.conftest import Stack, make_topics, own_environment, settings_in
from tests.support.apps import mistakes
from tests.support.apps.mistakes import LongMistakeMade, SingleMistakeMade
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess
from tests.support.trial_fixtures import TrialRun


@pytest.fixture(scope="module")
def worker(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker with these handlers; its topics exist."""
    folder = tmp_path_factory.mktemp("mistakes")
    registry = folder / "registry"
    export(build_catalogue(Settings(handlers=(mistakes.__name__,))), registry)
    with own_environment(stack, template, folder) as own:
        environment = {
            **own,
            "STREAMS_HANDLERS": mistakes.__name__,
            "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
            "STREAMS_LEASE_SECONDS": "3s",
            "STREAMS_SWEEP_INTERVAL": "1s",
        }
        make_topics(settings_in(environment))
        started = WorkerProcess(environment, folder / "worker.log").start()
        try:
            yield started
            assert started.stop() == 0, started.output()[-6000:]
        finally:
            started.kill()


@pytest.fixture(scope="module")
def run(worker: WorkerProcess) -> Iterator[TrialRun]:
    """Publish events and read their outcome."""
    own = {name: value for name, value in worker.environment.items() if name.startswith("STREAMS_")}
    settings = settings_in(own)
    engine = sync_engine(settings)
    yield TrialRun(settings, engine, Commands(worker.environment))
    engine.dispose()


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (SingleMistakeMade(mistake="step"), "err-single is no long handler: use work.session"),
        (SingleMistakeMade(mistake="service"), "nothing provides Missing"),
        (LongMistakeMade(mistake="session"), "err-long is a long handler: open a step"),
        (LongMistakeMade(mistake="service"), "nothing provides Missing"),
    ],
    ids=["step of a single", "service of a single", "session of a long", "service of a long"],
)
def test_a_tool_used_wrongly_is_a_dead_letter_that_says_what_to_do(run: TrialRun, event: Event, expected: str) -> None:
    """Only the delivery fails; the worker continues."""
    run.publish(event)
    (row,) = run.ended(event)
    assert row["status"] == "failure"
    assert expected in str(row["error"])
    (letter,) = run.letters(event)
    assert expected in str(letter["error_message"])


def test_a_handler_knows_when_its_soft_limit_comes(run: TrialRun) -> None:
    """The deadline is in UTC, within the default of 30 seconds after the start of the attempt."""
    event = SingleMistakeMade(mistake="none")
    before = datetime.now(tz=UTC)
    run.publish(event)
    (row,) = run.ended(event)
    assert isinstance(row["result"], dict)
    deadline = datetime.fromisoformat(row["result"]["deadline"])
    assert before + timedelta(seconds=30) <= deadline <= datetime.now(tz=UTC) + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("mistake", "logged"),
    [
        ("lose the lease and go on", "lease lost; another worker has this delivery"),
        ("lose the lease and fail", "lease is lost; its new holder settles the delivery"),
    ],
)
def test_a_worker_without_its_lease_settles_nothing(
    run: TrialRun, worker: WorkerProcess, mistake: str, logged: str
) -> None:
    """Its next step does not start and its failure does not count. Another run succeeds."""
    event = LongMistakeMade.model_validate({"mistake": mistake})
    run.publish(event)
    (row,) = run.ended(event)
    assert row["status"] == "success", row
    assert row["lost_leases"] == 1
    assert run.letters(event) == []
    assert logged in [line["message"] for line in worker.lines() if line.get("event_id") == str(event.event_id)]
