"""Scheduled events: they are sent at their time, can be withdrawn before it, and expire."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from schemas import Event
from schemas.event import event_time, new_event_id
from streams.codec import build_codec
from streams.database import Database
from streams.publishing import EventProducer, Outbox
from streams.publishing.outbox import withdraw as withdraw_module
from streams.publishing.outbox.relay import Relay
from streams.publishing.outbox.withdraw import RelayBusyError, withdraw
from streams.settings import Settings
from streams.topics import load_catalogue
from streams.transport.kafka.records import NewRecord, ProduceError
from tests.integration.publishing.test_relay import database
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["database", "environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
LEDGER = "select handler, status, reason, attempts, error from streams.executions where event_id = :id"


def now() -> datetime:
    return datetime.now(tz=UTC)


def publish_later(
    settings: Settings, engine: Engine, event: Event, at: datetime | None = None, expires_at: datetime | None = None
) -> UUID:
    """As a service does it, in a transaction."""
    with Session(engine) as session, session.begin():
        return Outbox(session, build_codec(settings, load_catalogue(settings))).publish(event, at, expires_at)


def of(engine: Engine, event_id: UUID) -> dict[str, object]:
    """The only execution of an event. Empty if there is none yet."""
    found = rows(engine, LEDGER, id=event_id)
    return dict(found[0]) if found else {}


@pytest.mark.requirement("Events for later", "`publish(event, at=…)`, at any distance in time")
def test_they_go_out_at_their_time_from_any_distance(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    """One in 3 s, and one that was written 400 days ago for now, far beyond the ledger's 30 days."""
    soon = now() + timedelta(seconds=3)
    ancient = new_event_id(round((now() - timedelta(days=400)).timestamp() * 1000))
    published = [
        publish_later(trial, engine, SingleTrialRequested(entity="near"), soon),
        publish_later(trial, engine, SingleTrialRequested(event_id=ancient, entity="far"), soon),
    ]
    with engine.begin() as connection:
        connection.execute(
            text("update streams.outbox set created_at = created_at - interval '400 days' where event_id = :id"),
            {"id": published[1]},
        )
    worker().start()
    wait_for(lambda: all(of(engine, one).get("status") == "success" for one in published), "both")
    assert scalar(engine, "select count(*) from trials") == 2
    assert scalar(engine, "select bool_and(at >= :soon) from trials", soon=soon) is True
    assert scalar(engine, "select count(*) from streams.dead_letters") == 0
    assert all(event_time(one) is not None for one in published)


@pytest.mark.requirement(
    "Events for later",
    "`expires_at`: not attempted, `failure`, reason `expired`; first deliveries, retries, in batches, "
    "long work; `on_dead`; replay",
)
def test_what_has_expired_is_not_attempted(
    trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """Single, batch and long, at the first attempt and at a retry, from the outbox and straight to Kafka.

    Each ends as `failure`, `expired`, with its attempts so far and its status rolled back. Other events are handled.
    """
    over, ahead = now() - timedelta(seconds=1), now() + timedelta(hours=1)
    kinds = (SingleTrialRequested, BatchTrialRequested, LongTrialRequested)
    dead = [publish_later(trial, engine, kind(entity=f"{kind.__name__} over"), expires_at=over) for kind in kinds]
    batch = [BatchTrialRequested(entity="e") for _ in range(30)]
    for number, one in enumerate(batch):
        publish_later(trial, engine, one, expires_at=(over, ahead, None)[number % 3])
    with EventProducer(trial, build_codec(trial, load_catalogue(trial))) as producer:
        straight = SingleTrialRequested(entity="straight")
        producer.publish(straight, expires_at=over)
    dead += [straight.event_id, *(event.event_id for event in batch[::3])]
    worker().start()
    letters = "select count(*) from streams.dead_letters"
    wait_for(lambda: scalar(engine, letters) == len(dead), "the deaths at the first attempt")
    # The worker is idle now, so the first attempts begin before the expiry.
    retried = [kind(entity="late", plan="ask", seconds=4, times=5) for kind in kinds]
    for event in retried:
        publish_later(trial, engine, event, expires_at=now() + timedelta(seconds=3))
    wait_for(lambda: scalar(engine, letters) == len(dead) + len(retried), "the deaths at a retry")
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions") == 34 + len(retried), "the others")
    for event_id in [*dead, *(event.event_id for event in retried)]:
        found = of(engine, event_id)
        assert (found["status"], found["reason"]) == ("failure", "expired")
        assert found["attempts"] == (0 if event_id in dead else 1)
        assert "expired at" in str(found["error"])
    worked_on = rows(engine, "select event_id from trials where handler like 'try-%' and entity = 'e'")
    assert {row["event_id"] for row in worked_on} == {event.event_id for event in batch} - set(dead)
    rolled_back = rows(engine, "select event_id from trials where handler = 'dead: ExpiredError'")
    assert {row["event_id"] for row in rolled_back} == {*dead, *(event.event_id for event in retried)}
    assert {letter["reason"] for letter in commands.rows("dlq", "list")} == {"expired"}

    (letter,) = commands.rows("dlq", "list", "--event", str(straight.event_id))
    commands.json("dlq", "replay", str(letter["id"]))
    wait_for(lambda: of(engine, straight.event_id)["status"] == "success", "the replay, which does not expire")


@pytest.mark.requirement("Events for later", "what expires while it is held back")
def test_what_expires_while_its_handler_is_paused_ends_when_that_goes_on(
    trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """No work of a paused handler starts, not even its dead letters. Later, expired events are not attempted."""
    assert commands.json("handlers", "pause", "try-single")
    one = worker().start()
    event, expires_at = SingleTrialRequested(entity="e"), now() + timedelta(seconds=0.5)
    publish_later(trial, engine, event, expires_at=expires_at)
    wait_for(lambda: 'streams_deliveries_waiting{pool="default"} 1.0' in one.page("/metrics")[1], "its window")
    wait_for(lambda: now() > expires_at, "its time to be over")
    assert of(engine, event.event_id) == {}
    assert commands.json("handlers", "resume", "try-single")
    wait_for(lambda: of(engine, event.event_id).get("reason") == "expired", "its end")
    assert rows(engine, "select handler from trials") == [{"handler": "dead: ExpiredError"}]


@pytest.mark.requirement("Events for later", "cancellable until due: `streams scheduled list`, `cancel`")
def test_they_are_listed_and_cancelled_until_they_have_gone_out(
    trial: Settings, engine: Engine, commands: Commands
) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    later = SingleTrialRequested(entity="second", tenant_id="t2")
    second = publish_later(trial, engine, later, at + timedelta(days=1))
    first = publish_later(
        trial, engine, LongTrialRequested(entity="first", tenant_id="t1"), at, at + timedelta(minutes=5)
    )
    at_once = publish_later(trial, engine, SingleTrialRequested(entity="at once"))
    assert second != later.event_id
    listed = commands.rows("scheduled", "list")
    assert [row["event_id"] for row in listed] == [str(first), str(second)]
    published_at = datetime.fromisoformat(str(listed[0].pop("published_at")))
    assert timedelta(0) <= now() - published_at < timedelta(seconds=60)
    assert listed[0] == {
        "event_id": str(first),
        "topic": load_catalogue(trial).of(LongTrialRequested).name,
        "key": "first",
        "tenant_id": "t1",
        "due_at": "2030-01-01T00:00:00+00:00",
        "expires_at": "2030-01-01T00:05:00+00:00",
    }
    assert [row["key"] for row in commands.rows("scheduled", "list", "--tenant", "t2")] == ["second"]
    assert [row["key"] for row in commands.rows("scheduled", "list", "--topic", "trial.long-requested")] == ["first"]
    assert [row["key"] for row in commands.rows("scheduled", "list", "--limit", "1")] == ["first"]
    assert "2030-01-0" in commands.run("scheduled", "list").stdout
    with engine.begin() as connection:  # headers that cannot be read hide no event
        nested = "[" * 1100 + "]" * 1100
        connection.execute(text(f"update streams.outbox set headers = '{nested}' where event_id = '{second}'"))
    assert [row["expires_at"] for row in commands.rows("scheduled", "list", "--tenant", "t2")] == [None]

    assert commands.json("scheduled", "cancel", str(first)) == [
        {"event_id": str(first), "topic": load_catalogue(trial).of(LongTrialRequested).name, "cancelled": True}
    ]
    for not_there in (first, at_once, uuid4()):
        done = commands.run("scheduled", "cancel", str(not_there))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"streams: event {not_there} is not scheduled: "
            "it was published or cancelled already, or it does not exist\n"
        )
    both = commands.run("scheduled", "cancel", str(first), str(second))
    assert both.returncode == 1
    assert f"event {second} for" in both.stdout
    assert str(first) in both.stderr
    assert commands.rows("scheduled", "list") == []
    assert "nothing is scheduled" in commands.run("scheduled", "list").stdout
    assert rows(engine, "select event_id from streams.outbox") == [{"event_id": at_once}]


class Counting:
    """Accepts records only when it is allowed to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.sending = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Sequence[ProduceError | None]]":
        return asyncio.ensure_future(self._send([record.key or b"" for record in records]))

    async def _send(self, keys: list[bytes]) -> Sequence[ProduceError | None]:
        self.sending.set()
        await self.go_on.wait()
        self.sent += keys
        return [None] * len(keys)


@pytest.mark.requirement("Events for later", "either cancelled or gone out")
async def test_either_it_is_cancelled_or_it_goes_out(trial: Settings, engine: Engine, database: Database) -> None:
    """Cancelled one by one, half of them due meanwhile, with two relays: each is either cancelled or sent."""
    codec = build_codec(trial, load_catalogue(trial))
    later = now() + timedelta(hours=1)
    with Session(engine) as session, session.begin():
        ids = {
            str(number).encode(): Outbox(session, codec).publish(SingleTrialRequested(entity=str(number)), later)
            for number in range(60)
        }
    records, stop = Counting(), asyncio.Event()
    relays = [asyncio.create_task(Relay(database.bookkeeping, records, trial).run(stop)) for _ in range(2)]
    cancelled: list[bytes] = []
    for number, (key, event_id) in enumerate(ids.items()):
        if number % 20 == 10:
            with engine.begin() as connection:
                connection.execute(text("update streams.outbox set due_at = now() where id % 2 = 0"))
        async with AsyncSession(database.effects) as one, one.begin():
            withdrawn = await withdraw(one, [event_id], scheduled_only=True)
        if withdrawn:
            cancelled.append(key)
    await asyncio.to_thread(
        wait_for, lambda: scalar(engine, "select count(*) from streams.outbox") == 0, "the outbox to be empty"
    )
    stop.set()
    await asyncio.gather(*relays)
    assert sorted([*cancelled, *records.sent]) == sorted(ids)
    assert len(cancelled) >= 30


@pytest.mark.requirement("Events for later", "either cancelled or gone out")
async def test_what_is_on_its_way_cannot_be_cancelled(
    trial: Settings, engine: Engine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay has read it and waits for Kafka. A cancellation waits too, then reports it as sent, or times out."""
    event_id = publish_later(trial, engine, SingleTrialRequested(entity="e"), now() - timedelta(seconds=1))
    records = Counting()
    records.go_on.clear()
    step = asyncio.create_task(Relay(database.bookkeeping, records, trial).step())
    await asyncio.wait_for(records.sending.wait(), 10)

    async def cancel() -> list[object]:
        async with AsyncSession(database.effects) as session, session.begin():
            return list(await withdraw(session, [event_id], scheduled_only=True))

    with monkeypatch.context() as patient:
        patient.setattr(withdraw_module, "SET_LOCK_TIMEOUT", text("set local lock_timeout = '200ms'"))
        with pytest.raises(RelayBusyError, match="try again"):
            await cancel()
    cancelling = asyncio.create_task(cancel())
    await asyncio.to_thread(
        wait_for,
        lambda: scalar(engine, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"),
        "the cancellation to wait for the relay",
    )
    records.go_on.set()
    assert await cancelling == []
    assert await step == 1
    assert records.sent == [b"e"]


@pytest.mark.requirement("Events for later", "either cancelled or gone out")
async def test_what_waits_in_the_client_of_the_relay_cannot_be_cancelled(
    trial: Settings, engine: Engine, database: Database
) -> None:
    """Kafka does not answer soon, so the relay's transaction ends. Another event can be cancelled meanwhile."""
    event_id = publish_later(trial, engine, SingleTrialRequested(entity="e"), now() - timedelta(seconds=1))
    other = publish_later(trial, engine, SingleTrialRequested(entity="other"), now() + timedelta(hours=1))
    records, stop = Counting(), asyncio.Event()
    records.go_on.clear()
    running = asyncio.create_task(Relay(database.bookkeeping, records, trial).run(stop))
    noted = "select cardinality(in_flight) from streams.relay"
    await asyncio.to_thread(wait_for, lambda: scalar(engine, noted) == 1, "the row to be in flight")
    for scheduled_only in (True, False):
        async with AsyncSession(database.effects) as session:
            with pytest.raises(RelayBusyError, match="try again"):
                await withdraw(session, [event_id, other], scheduled_only=scheduled_only)
    async with AsyncSession(database.effects) as session, session.begin():
        assert [one.event_id for one in await withdraw(session, [other], scheduled_only=True)] == [other]
    records.go_on.set()
    await asyncio.to_thread(
        wait_for, lambda: scalar(engine, "select count(*) from streams.outbox") == 0, "the outbox to be empty"
    )
    await asyncio.to_thread(wait_for, lambda: scalar(engine, noted) == 0, "nothing to be in flight")
    stop.set()
    await running
    assert records.sent == [b"e"]
