"""The sweep of expired leases: what cannot be settled now stops nothing else, and nothing stays `started` for ever."""

import asyncio
import time
from datetime import timedelta
from uuid import UUID

import pytest

from schemas import Event
from schemas.event import new_event_id
from streams.codec import build_codec
from streams.delivery import Work, handles
from streams.delivery.admission import schema_loader
from streams.delivery.handler import Handler
from streams.delivery.ledger.lost_leases import PAGE
from streams.delivery.settlement.decision import CRASHES_UNTIL_DEATH
from streams.schema_registry.clients import open_http_registry
from streams.schema_registry.register import register
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.apps.trials import LongTrialRequested
from tests.support.cli import Commands
from tests.support.delivery_engine import PATIENCE, Bench, open_bench
from tests.support.fakes.registry_server import running_registry
from tests.support.local_stack.cluster import delete_topic
from tests.support.trial_fixtures import environment, trial, with_registry

__all__ = ["environment", "trial"]
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
CLAIMED = """
    with claimed as (
        insert into streams.executions
            (day, event_id, handler, task_id, topic, partition, "offset", pool, status, seq, attempts, created_at,
             started_at, lost_leases, resource, lease_token, lease_until, record_value, record_headers)
        select (now() at time zone 'utc')::date, :id, :handler, :id, :topic, 0, 0, 'low', 'started', 0, 1, now(),
            now(), :lost_leases, :resource, gen_random_uuid(), now() - cast(:ago as interval), :value, '[]'
        returning resource, lease_token, lease_until, event_id, handler
    )
    insert into streams.leases (resource, token, until, event_id, handler) select * from claimed
"""
WAITING = "select event_id from streams.executions where status = 'started'"
STATUSES = "select handler, status, reason, attempts, lost_leases from streams.executions where event_id = :id"


async def do_nothing(_event: Event, _work: Work) -> None:
    """Succeed."""


def long_handler(name: str = "known") -> Handler[LongTrialRequested]:
    return handles(LongTrialRequested, name=name, kind="long", resource=lambda event: event.entity)(do_nothing)


async def claim(
    bench: Bench,
    ago: timedelta,
    *,
    handler: str = "known",
    value: bytes | None = None,
    event_id: UUID | None = None,
    lost_leases: int = 0,
) -> str:
    """Insert the row of a stopped worker whose lease expired some time ago; return the event's id."""
    event = LongTrialRequested(event_id=event_id or new_event_id(), entity="e")
    await bench.query(
        CLAIMED,
        id=event.event_id,
        handler=handler,
        topic=bench.context.catalogue.of(LongTrialRequested).name,
        lost_leases=lost_leases,
        resource=str(event.event_id),
        ago=ago,
        value=bench.record(event, 0).value if value is None else value,
    )
    return str(event.event_id)


async def swept(bench: Bench, event_id: str) -> None:
    """Sweep until a lost delivery waits for its next attempt."""
    deadline = time.monotonic() + PATIENCE
    while (await row(bench, event_id))["status"] != "retry":
        assert time.monotonic() < deadline
        await bench.engine.sweep.run()


async def row(bench: Bench, event_id: str) -> dict[str, object]:
    (found,) = await bench.query(STATUSES, id=event_id)
    return found


@pytest.mark.requirement("Faults of others", "R6: the sweep looks past what it cannot read")
async def test_what_this_version_cannot_read_does_not_hide_what_was_lost_later(trial: Settings) -> None:
    """More than a page of unreadable rows and of unknown handlers: they are left to other versions, untouched."""
    async with open_bench(trial, long_handler(), pool="low") as bench:
        left = [await claim(bench, MINUTE * 2, value=b"unreadable") for _ in range(PAGE + 1)]
        left.append(await claim(bench, MINUTE * 2, handler="of a newer version"))
        lost = await claim(bench, MINUTE)
        await bench.engine.sweep.run()
        assert (await row(bench, lost))["status"] == "retry"
        rows = [await row(bench, one) for one in left]
        assert await bench.engine.sweep.run() == 0, "the unreadable ones are tried again at once"
        assert await bench.query("select * from streams.dead_letters") == []
    assert {(one["status"], one["lost_leases"]) for one in rows} == {("started", 0)}


@pytest.mark.requirement("Faults of others", "R6: a lost delivery whose DLQ is missing holds up no other")
async def test_a_missing_dlq_holds_up_only_what_goes_there(trial: Settings) -> None:
    """Deliveries at their last lost lease wait for the topic in the background. A delivery that runs again does not."""
    settings = trial.model_copy(update={"settle_timeout": 1.0})
    async with open_bench(settings, long_handler(), pool="low") as bench:
        dlq = bench.context.catalogue.dlq(bench.context.catalogue.of(LongTrialRequested).name)
        delete_topic(trial.kafka_bootstrap_servers, dlq)
        dying = [await claim(bench, MINUTE * 2, lost_leases=CRASHES_UNTIL_DEATH - 1) for _ in range(12)]
        lost = await claim(bench, MINUTE)
        await swept(bench, lost)
        assert len(await bench.query(WAITING)) == len(dying)
        assert await bench.query("select * from streams.dead_letters") == []


@pytest.mark.requirement("Faults of others", "R6: what no version reads for a day is a dead letter")
async def test_a_claimed_record_that_no_version_reads_for_a_day_is_a_dead_letter(trial: Settings) -> None:
    """Of an unknown handler, of an unreadable value: the row is a failure, and the lease is released."""
    async with open_bench(trial, long_handler(), pool="low") as bench:
        unknown = await claim(bench, DAY + MINUTE, handler="gone")
        unreadable = await claim(bench, DAY + MINUTE, value=b"unreadable")
        younger = await claim(bench, DAY - MINUTE, handler="gone")
        assert await bench.engine.sweep.run() == 2
        rows = [await row(bench, one) for one in (unknown, unreadable, younger)]
        letters = await bench.query("select event_id, handler, reason, attempts from streams.dead_letters")
        leases = await bench.query("select event_id from streams.leases")
    assert [(one["status"], one["reason"]) for one in rows] == [
        ("failure", "unknown-handler"),
        ("failure", "decode"),
        ("started", None),
    ]
    assert {(str(one["event_id"]), one["handler"], one["reason"], one["attempts"]) for one in letters} == {
        (unknown, "gone", "unknown-handler", 1),
        (unreadable, "known", "decode", 1),
    }
    assert [str(one["event_id"]) for one in leases] == [younger]


async def test_a_buried_claim_can_be_replayed(trial: Settings, commands: Commands) -> None:
    """The dead letter has the record, byte for byte. Its replay goes to the handler that no version knew."""
    async with open_bench(trial, long_handler(), pool="low") as bench:
        event = LongTrialRequested(entity="e")
        value = bench.record(event, 0).value
        event_id = await claim(bench, DAY + MINUTE, handler="gone", value=value, event_id=event.event_id)
        await bench.engine.sweep.run()
        (letter,) = await bench.query("select id from streams.dead_letters")
        await asyncio.to_thread(commands.json, "dlq", "replay", str(letter["id"]))
        (sent,) = await bench.query("select value from streams.outbox")
        assert (await row(bench, event_id))["status"] == "retry"
    assert bytes(sent["value"]) == value


@pytest.mark.requirement("Faults of others", "R6: two sweeps of one pool settle each delivery once")
async def test_two_sweeps_at_once_settle_each_delivery_once(trial: Settings) -> None:
    """Two workers find the same rows. Each has one lost lease and one record in a tier."""
    async with (
        open_bench(trial, long_handler(), pool="low") as one,
        open_bench(trial, long_handler(), pool="low") as other,
    ):
        lost = [await claim(one, MINUTE) for _ in range(30)]
        await asyncio.gather(one.engine.sweep.run(), other.engine.sweep.run())
        await one.engine.sweep.run()
        rows = [await row(one, event_id) for event_id in lost]
    assert {(found["status"], found["lost_leases"], found["attempts"]) for found in rows} == {("retry", 1, 1)}


@pytest.mark.requirement("Faults of others", "R6: a sweep whose schema is not loaded yet loads it")
async def test_a_sweep_whose_schema_is_not_loaded_settles_the_delivery_once_it_is(
    trial: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the registry does not answer, sweeps leave the delivery. Afterwards one of them settles it."""
    monkeypatch.setattr(schema_loader, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(schema_loader, "LONGEST_PAUSE", 0.2)
    with running_registry() as server:
        settings = with_registry(trial, server.url)
        assert list(register(load_catalogue(settings), open_http_registry(settings)))
        sender = build_codec(settings, load_catalogue(settings))
        sender.prepare(LongTrialRequested)
        event = LongTrialRequested(entity="e")
        value = sender.encode(event).value
        async with open_bench(settings, long_handler(), pool="low") as bench:
            server.stop()
            lost = await claim(bench, MINUTE, value=value, event_id=event.event_id)
            for _ in range(3):
                await bench.engine.sweep.run()
            assert (await row(bench, lost))["status"] == "started"
            server.start()
            await swept(bench, lost)
            assert bench.crashes == []
