"""An unavailable dependency: only deliveries that need it wait, and no attempt is counted."""

import asyncio
import time

import pytest

from schemas import Event
from streams.delivery import Backoff, Unavailable, Work, handles
from streams.delivery.admission import circuit_breaker
from streams.settings import Settings
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, note
from tests.support.delivery_engine import open_bench
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
ONCE = Backoff(attempts=1)
PAUSE = 0.3
"""Seconds until a probe: an outage of a second is long."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all pauses short."""
    set_pauses(monkeypatch, PAUSE)


def set_pauses(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE", seconds)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE", seconds)


class Provider:
    """A dependency that can be switched off. It counts its calls."""

    def __init__(self) -> None:
        self.up = False
        self.asked = 0

    async def ask(self) -> None:
        self.asked += 1
        if not self.up:
            raise Unavailable("provider", "the provider answered 503")


@pytest.mark.requirement(
    "Faults and operations",
    "breakers: open on consecutive failures, pure and mixed topics, probe, close, no attempt burned",
)
@pytest.mark.parametrize(("keys", "first"), [(1, 3), (50, 8)])
async def test_a_topic_that_needs_it_throughout_waits_in_its_partition(trial: Settings, keys: int, first: int) -> None:
    """Of fifty events the first ones call the provider, then one per pause. These are deferred; the others run later.

    Args:
        trial: The settings.
        keys: How many keys the events have.
        first: How many call the provider until it counts as unavailable: three, or as many as run at once.
    """
    provider = Provider()

    async def ask(event: SingleTrialRequested, work: Work) -> None:
        await provider.ask()
        await note(event, work, "ask")

    handler = handles(SingleTrialRequested, name="ask", needs="provider", retry=ONCE)(ask)
    async with open_bench(trial, handler) as bench:
        fed = bench.feed(*(SingleTrialRequested(entity=f"e{number % keys}") for number in range(50)))
        began = time.monotonic()
        await bench.until(lambda: bench.context.breakers.any_open, "the breaker to open")
        await asyncio.sleep(1.5)
        asked, probes = provider.asked, (time.monotonic() - began) / PAUSE + 1
        waiting = fed.unsettled
        provider.up = True
        await bench.settled(fed)
        rows = await bench.executions()
        effects = await bench.query("select event_id from trials order by id")
    assert asked <= first + probes
    assert waiting >= 50 - asked
    assert {(row["status"], row["attempts"]) for row in rows} == {("retry", 0), ("success", 1)}
    assert len(effects) == sum(row["status"] == "success" for row in rows) >= 50 - asked
    assert not bench.context.breakers.any_open


@pytest.mark.requirement(
    "Faults and operations",
    "breakers: open on consecutive failures, pure and mixed topics, probe, close, no attempt burned",
)
async def test_beside_others_its_deliveries_are_deferred(trial: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic's other handler finishes all its work during the outage. No delivery probes: the pause is long."""
    set_pauses(monkeypatch, 60)
    provider = Provider()

    async def ask(event: SingleTrialRequested, work: Work) -> None:
        await provider.ask()
        await note(event, work, "ask")

    async def count(event: SingleTrialRequested, work: Work) -> None:
        await note(event, work, "count")

    needing = handles(SingleTrialRequested, name="ask", needs="provider", retry=ONCE)(ask)
    other = handles(SingleTrialRequested, name="count")(count)
    async with open_bench(trial, needing, other) as bench:
        fed = bench.feed(*(SingleTrialRequested(entity=f"e{number}") for number in range(30)))
        await bench.settled(fed)
        rows = await bench.executions()
    assert {(row["handler"], row["status"], row["attempts"]) for row in rows} == {
        ("ask", "retry", 0),
        ("count", "success", 1),
    }
    assert provider.asked <= 10


@pytest.mark.requirement(
    "Faults and operations",
    "breakers: open on consecutive failures, pure and mixed topics, probe, close, no attempt burned",
)
async def test_batch_and_long_handlers_wait_too(trial: Settings) -> None:
    provider = Provider()

    async def many(events: list[BatchTrialRequested], work: Work) -> None:
        await provider.ask()
        for event in events:
            await note(event, work, "many")

    async def long(event: LongTrialRequested, work: Work) -> None:
        await provider.ask()
        async with work.step(final=True):
            await note(event, work, "long")

    batch = handles(BatchTrialRequested, kind="batch", needs="provider", retry=ONCE)(many)
    steps = handles(LongTrialRequested, kind="long", needs="provider", retry=ONCE, resource=lambda event: event.entity)(
        long
    )
    async with open_bench(trial, batch, steps) as bench:
        batches = bench.feed(*(BatchTrialRequested(entity="e") for _ in range(20)))
        longs = bench.feed(*(LongTrialRequested(entity=f"e{number}") for number in range(3)))
        await bench.until(lambda: bench.context.breakers.any_open, "the breaker to open")
        await asyncio.sleep(1)
        rows = await bench.executions()
        assert all((row["status"], row["attempts"]) == ("retry", 0) for row in rows), rows
        assert all(row["trace_id"] for row in rows), "the trace of what waits is known, too"
        provider.up = True
        probes = bench.feed(BatchTrialRequested(entity="probe"))
        await bench.until(lambda: not bench.context.breakers.any_open, "a probe")
        await bench.settled(probes)
        await bench.settled(batches)
        await bench.settled(longs)
        await bench.until(lambda: bench.engine.running == 0, "the end")
        rows = await bench.executions()
    assert {(row["status"], row["attempts"]) for row in rows} <= {("retry", 0), ("success", 1)}
    assert {row["handler"] for row in rows if row["status"] == "success"} >= {"many"}


@pytest.mark.requirement(
    "Faults and operations",
    "breakers: open on consecutive failures, pure and mixed topics, probe, close, no attempt burned",
)
async def test_a_failure_among_successes_is_the_deliverys_own(trial: Settings) -> None:
    """The provider fails for one event only: that event is dead-lettered, and no breaker opens for long."""
    asked: list[str] = []

    async def ask(event: SingleTrialRequested, work: Work) -> None:
        asked.append(event.entity)
        if event.entity == "bad":
            raise Unavailable("provider", "the provider answered 500")
        await asyncio.sleep(0.01)
        await note(event, work, "ask")

    handler = handles(SingleTrialRequested, name="ask", needs="provider", retry=ONCE)(ask)
    async with open_bench(trial, handler) as bench:
        events: list[Event] = [SingleTrialRequested(entity=f"e{number}") for number in range(200)]
        events.insert(50, SingleTrialRequested(entity="bad"))
        await bench.settled(bench.feed(*events))
        rows = await bench.query("select status, count(*) from streams.executions group by 1 order by 1")
    assert rows == [{"status": "failure", "count": 1}, {"status": "success", "count": 200}]
    assert asked.count("bad") <= 5
