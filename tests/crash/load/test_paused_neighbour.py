"""A handler's rate beside a paused handler of the same topic.

Expected: with any backlog of the paused handler, the other one keeps nine tenths of its rate. Each rate is the median
of five rounds, compared with rounds of the same worker just before.
"""

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import Engine

from schemas import Event
from streams.settings import Settings
from tests.support.apps import neighbours
from tests.support.apps.neighbours import NeighbourRequested
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess, publish, scalar, wait_for
from tests.support.trial_fixtures import with_package

EVENTS = 1000
"""Per round."""
ROUNDS = 5
KEPT = 0.9
PATIENCE = 240.0
SECTION = "Faults of others"
DONE = "select count(*) from streams.executions where handler = :handler and status = 'success'"


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the test's settings, with the events of two neighbours for every process."""
    return with_package(environment, tmp_path, neighbours.__name__)


@pytest.mark.timeout(1800)
@pytest.mark.requirement(SECTION, "R8: beside a paused handler of its topic, a handler keeps nine tenths of its rate")
def test_the_other_handler_keeps_its_rate(
    topics: Settings, engine: Engine, environment: dict[str, str], worker: Callable[..., WorkerProcess]
) -> None:
    commands = Commands(environment)
    running = worker()
    running.start()
    steady = Steady(topics, engine)
    steady.round()  # connections, plans and caches
    alone = steady.rate()

    commands.json("handlers", "pause", neighbours.PAUSED)
    wait_for(lambda: '"message": "paused"' in running.output(), "the worker to know")
    beside_paused = [steady.rate() for _ in range(2)]
    waiting = steady.published - int(str(scalar(engine, DONE, handler=neighbours.PAUSED)))
    assert waiting == 2 * ROUNDS * EVENTS

    shown = f"alone {alone:.0f}/s, beside a pause {beside_paused} /s"
    print(shown)  # noqa: T201 - the figures of the run
    assert min(beside_paused) > KEPT * alone, shown

    commands.json("handlers", "resume", neighbours.PAUSED)
    wait_for(
        lambda: scalar(engine, DONE, handler=neighbours.PAUSED) == steady.published, "all that was paused", PATIENCE
    )


class Steady:
    """Rounds of events for the steady handler, each with new entities."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._entities = count()
        self.published = 0

    def rate(self) -> float:
        """Return the events a second: the median of several rounds."""
        return median(self.round() for _ in range(ROUNDS))

    def round(self) -> float:
        """Publish one round, wait until the handler has done it, and return its events a second."""
        events: list[Event] = [NeighbourRequested(entity=f"n{next(self._entities)}") for _ in range(EVENTS)]
        self.published += EVENTS
        began = time.monotonic()
        publish(self._settings, events)
        wait_for(lambda: scalar(self._engine, DONE, handler=neighbours.STEADY) == self.published, "a round", PATIENCE)
        return EVENTS / (time.monotonic() - began)
