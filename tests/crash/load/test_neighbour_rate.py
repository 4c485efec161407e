"""A handler keeps its rate, whatever stands still or fails beside it in its pool.

Expected: beside a paused handler of its own topic, with a backlog that grows, and beside a handler whose statements end
their own connection, it does at least nine tenths of what it does beside healthy ones. Rates vary on a busy machine, so
the two are measured in turn, and their medians are compared.
"""

import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import Engine

from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from tests.support.apps import neighbours
from tests.support.apps.neighbours import CrashRequested, StepRequested
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess, publish, scalar, wait_for

MakeWorker = Callable[..., WorkerProcess]
EVENTS, CRASHES, ROUNDS = 6_000, 30, 3
PATIENCE = 120.0
KEPT = 0.9
DONE = "select count(*) from streams.executions where handler = :handler and status = 'success'"
DEAD = "select count(*) from streams.executions where handler = 'crash' and status = 'failure'"
_numbers = count()


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    registry = tmp_path / "registry"
    export(build_catalogue(Settings(handlers=(neighbours.__name__,))), registry)
    return {
        **environment,
        "STREAMS_HANDLERS": neighbours.__name__,
        "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
        "STREAMS_PARTITIONS": "4",
    }


def steps() -> list[StepRequested]:
    return [StepRequested(number=next(_numbers)) for _ in range(EVENTS)]


def rate(settings: Settings, engine: Engine, events: Sequence[StepRequested | CrashRequested]) -> float:
    """Publish events, and return how many of them `steady` handles in a second."""
    before = done(engine, "steady")
    wanted = sum(isinstance(event, StepRequested) for event in events)
    publish(settings, events)
    began = time.monotonic()
    wait_for(lambda: done(engine, "steady") == before + wanted, f"{wanted} events of steady", PATIENCE)
    return wanted / (time.monotonic() - began)


def done(engine: Engine, handler: str) -> int:
    return int(str(scalar(engine, DONE, handler=handler)))


@pytest.mark.requirement("Faults of others", "R8: beside a paused handler another keeps nine tenths of its rate")
@pytest.mark.timeout(900)
def test_a_handler_beside_a_paused_one(
    topics: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    one = worker().start()
    rate(topics, engine, steps())
    beside_healthy, beside_paused = [], []
    for _ in range(ROUNDS):
        wait_for(lambda: done(engine, "second") == done(engine, "steady"), "what the pause left", PATIENCE)
        beside_healthy.append(rate(topics, engine, steps()))
        assert commands.run("handlers", "pause", "second").returncode == 0
        rate(topics, engine, steps())  # the backlog
        beside_paused.append(rate(topics, engine, steps()))
        assert commands.run("handlers", "resume", "second").returncode == 0
    assert one.stop() == 0
    assert median(beside_paused) >= KEPT * median(beside_healthy), (beside_paused, beside_healthy)


@pytest.mark.requirement("Faults of others", "R7: beside statements that end their connection another keeps its rate")
@pytest.mark.timeout(900)
def test_a_handler_beside_one_that_ends_its_connections(topics: Settings, engine: Engine, worker: MakeWorker) -> None:
    """Each of them is a dead letter after its attempts."""
    one = worker().start()
    rate(topics, engine, steps())
    alone, beside = [], []
    for number in range(ROUNDS):
        alone.append(rate(topics, engine, steps()))
        crashes = [CrashRequested(number=next(_numbers)) for _ in range(CRASHES)]
        beside.append(rate(topics, engine, [*crashes, *steps()]))
        wait_for(lambda: scalar(engine, DEAD) == (number + 1) * CRASHES, "their dead letters", PATIENCE)  # noqa: B023
    assert one.stop() == 0
    assert median(beside) >= KEPT * median(alone), (beside, alone)
