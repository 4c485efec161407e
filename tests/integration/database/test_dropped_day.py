"""Deliveries that wait in a worker's window until their day of the ledger is dropped."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from schemas import Event
from schemas.event import new_event_id
from streams.database.partitions import drop_partition
from streams.delivery import Work, handles
from streams.settings import Settings
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, note, note_death
from tests.support.delivery_engine import open_bench
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]


async def one(event: SingleTrialRequested, work: Work) -> None:
    await note(event, work, "one")


async def several(events: Sequence[BatchTrialRequested], work: Work) -> None:
    for event in events:
        await note(event, work, "several")


async def long(event: LongTrialRequested, work: Work) -> None:
    async with work.step(final=True):
        await note(event, work, "long")


@pytest.mark.requirement(
    "Faults of others", "R10: a delivery whose day is dropped is a dead letter, and ends no worker"
)
async def test_a_delivery_whose_day_is_dropped_is_a_dead_letter(trial: Settings, engine: Engine) -> None:
    """Single, batch and long: `expired`, `on_dead` runs, nothing else does. Younger events beside them are done."""
    gone = datetime.now(tz=UTC) - timedelta(days=2)
    with engine.begin() as connection:
        assert drop_partition(connection, gone.date()) == "dropped"
    handlers = [
        handles(SingleTrialRequested, name="one", on_dead=note_death)(one),
        handles(BatchTrialRequested, name="several", kind="batch", on_dead=note_death)(several),
        handles(LongTrialRequested, name="long", kind="long", resource=lambda event: event.entity, on_dead=note_death)(
            long
        ),
    ]
    kinds: tuple[type[Event], ...] = (SingleTrialRequested, BatchTrialRequested, LongTrialRequested)
    async with open_bench(trial, *handlers, pool="low") as bench:
        for kind in kinds:
            old = kind.model_validate({"event_id": new_event_id(round(gone.timestamp() * 1000)), "entity": "old"})
            await bench.settled(bench.feed(old, kind.model_validate({"entity": "young"})))
        await bench.until(lambda: bench.engine.running == 0, "the end")
        letters = await bench.query("select handler, reason from streams.dead_letters order by handler")
        effects = await bench.query("select entity, handler from trials order by entity, handler")
        rows = await bench.executions()
        assert await bench.query("select * from streams.leases") == []
    assert [(letter["handler"], letter["reason"]) for letter in letters] == [
        ("long", "expired"),
        ("one", "expired"),
        ("several", "expired"),
    ]
    assert [(effect["entity"], effect["handler"]) for effect in effects] == [
        *[("old", "dead: ExpiredError")] * 3,
        ("young", "long"),
        ("young", "one"),
        ("young", "several"),
    ]
    assert {row["status"] for row in rows} == {"success"}
