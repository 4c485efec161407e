"""The rows that the relay has sent when its transaction ends: they are noted, and not sent again."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from streams.publishing.outbox import relay as relay_module
from streams.publishing.outbox.relay import Relay
from streams.publishing.outbox.statements import ACKNOWLEDGED, LOCK, NOTE_IN_FLIGHT, WAITING
from streams.publishing.outbox.withdraw import LOCK_RELAY, RelayBusyError, withdraw
from streams.settings import Settings
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.records import NewRecord

Outcomes = Sequence[ProduceError | None]


class Result(list[object]):
    """Rows as a result of SQLAlchemy gives them."""

    def first(self) -> object:
        return self[0] if self else None

    def all(self) -> list[object]:
        return self

    def scalars(self) -> list[object]:
        return self

    scalar = first


@dataclass
class Outbox:
    """The two tables, with one transaction at a time. Stands for an engine, its connections and sessions."""

    ids: list[int]
    in_flight: list[int] = field(default_factory=list)
    is_locked: bool = False
    notes: list[list[int]] = field(default_factory=list)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["Outbox"]:
        before = self.ids, self.in_flight
        try:
            yield self
        except BaseException:
            self.ids, self.in_flight = before
            raise

    async def execute(self, statement: TextClause, values: dict[str, list[int]] | None = None) -> Result:
        await asyncio.sleep(0)
        values = values or {}
        if statement is LOCK:
            return Result([] if self.is_locked else [SimpleNamespace(in_flight=self.in_flight)])
        if statement is LOCK_RELAY:
            return Result([self.in_flight])
        if statement is NOTE_IN_FLIGHT:
            self.in_flight = values["ids"]
            self.notes.append(values["ids"])
        if statement is ACKNOWLEDGED:
            self.ids = [one for one in self.ids if one not in values["ids"]]
        if statement is WAITING and not values["skipped_topics"]:
            return Result(_row(one) for one in self.ids if one not in values["in_flight"])
        if "event_id = any" in statement.text and "due_at is null" in statement.text:
            return Result(self.ids)
        return Result()


def _row(number: int) -> SimpleNamespace:
    return SimpleNamespace(id=number, event_id=uuid4(), topic="a", key=b"", value=str(number).encode(), headers="[]")


class Silent:
    """Gives no answer until `answer` is called."""

    def __init__(self) -> None:
        self.sent: list[bytes | None] = []
        self.unanswered: list[tuple[asyncio.Future[Outcomes], int]] = []

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Outcomes]":
        values = [record.value for record in records]
        self.sent += values
        future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        self.unanswered.append((future, len(values)))
        return future

    def answer(self) -> None:
        for future, count in self.unanswered:
            future.set_result([None] * count)
        self.unanswered.clear()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the relay has no event for it
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(relay_module, "IDLE_SECONDS", 0.1)


@asynccontextmanager
async def running(outbox: Outbox, records: Silent) -> AsyncIterator[Relay]:
    """Run a relay, and stop it when Kafka has answered."""
    relay, stop = Relay(cast("AsyncEngine", outbox), records, Settings()), asyncio.Event()
    relay._depth_at = float("inf")
    task = asyncio.create_task(relay.run(stop))
    yield relay
    records.answer()
    stop.set()
    await asyncio.wait_for(task, 10)


async def cancel(outbox: Outbox) -> None:
    await withdraw(cast("AsyncSession", outbox), [uuid4()])


async def test_rows_in_flight_at_the_end_of_a_transaction_cannot_be_withdrawn() -> None:
    """They wait in the client while the lock is free. They are noted once, and the note ends with Kafka's answer."""
    outbox, records = Outbox([1, 2]), Silent()
    await cancel(outbox)
    async with running(outbox, records):
        await until(lambda: outbox.in_flight)
        with pytest.raises(RelayBusyError, match="try again"):
            await cancel(outbox)
        await asyncio.sleep(3 * relay_module.IDLE_SECONDS)
        assert outbox.notes == [[1, 2]]
        records.answer()
        await until(lambda: not outbox.ids)
    assert outbox.notes == [[1, 2], []]
    assert records.sent == [b"1", b"2"]


async def test_rows_that_kafka_answers_in_time_are_not_noted() -> None:
    outbox, records = Outbox([1]), Silent()
    async with running(outbox, records):
        await until(lambda: records.sent)
        records.answer()
        await until(lambda: not outbox.ids)
    assert outbox.notes == []


async def test_a_relay_whose_lock_was_taken_for_a_moment_sends_nothing_again() -> None:
    outbox, records = Outbox([1]), Silent()
    async with running(outbox, records) as relay:
        await until(lambda: outbox.in_flight)
        outbox.is_locked = True
        await until(lambda: not relay._active)
        outbox.is_locked = False
        await until(lambda: relay._active)
        records.answer()
        await until(lambda: not outbox.ids)
    assert records.sent == [b"1"]


async def test_a_relay_forgets_its_rows_if_another_one_was_active() -> None:
    """The other one has sent them, or they wait again."""
    outbox, records = Outbox([1]), Silent()
    async with running(outbox, records):
        await until(lambda: outbox.in_flight)
        outbox.in_flight = []
        await until(lambda: len(records.sent) > 1)
    assert set(records.sent) == {b"1"}


async def test_a_relay_that_has_lost_its_lock_stops_without_kafka_s_answer() -> None:
    outbox, records = Outbox([1]), Silent()
    relay, stop = Relay(cast("AsyncEngine", outbox), records, Settings()), asyncio.Event()
    relay._depth_at = float("inf")
    task = asyncio.create_task(relay.run(stop))
    await until(lambda: outbox.in_flight)
    outbox.is_locked = True
    stop.set()
    await asyncio.wait_for(task, 10)
    assert outbox.in_flight == [1]
