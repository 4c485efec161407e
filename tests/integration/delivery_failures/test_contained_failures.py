"""What fails on account of one record outside its attempt: the record is settled, and the engine goes on."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams import headers
from streams.codec.claim_check import Ticket
from streams.delivery import Backoff, Permanent, Work, handles
from streams.delivery.execution import transaction
from streams.delivery.ledger import claim, columns
from streams.settings import Settings
from streams.storage import open_store
from streams.topics import Catalogue
from streams.transport.kafka.client import client_config
from streams.transport.kafka.records import Record, to_record
from tests.support.apps.trials import SingleTrialRequested
from tests.support.delivery_engine import open_bench
from tests.support.kafka_records import read_all
from tests.support.processes.worker_process import wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
ONCE = Backoff(attempts=1)
LIMIT = 5_000
"""Bytes that a topic takes in these tests."""


def limit(settings: Settings, topic: str) -> None:
    """Let a topic take records of `LIMIT` bytes only."""
    entry = ConfigEntry("max.message.bytes", str(LIMIT), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(client_config(settings))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)
    wait_for(lambda: _limit_of(admin, topic) == str(LIMIT), "the brokers to know the limit")


def _limit_of(admin: AdminClient, topic: str) -> str | None:
    (described,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return str(described.result(10)["max.message.bytes"].value)


def dead_letters(settings: Settings, catalogue: Catalogue, topic: str, count: int) -> list[Record]:
    return [to_record(message) for message in read_all(settings, catalogue.dlq(topic), count)]


async def do_nothing(_event: Event, _work: Work) -> None:
    """Succeed."""


def handler_of(name: str, function: Callable[[Event, Work], Awaitable[None]], **policy: Any) -> Any:  # noqa: ANN401
    return handles(SingleTrialRequested, name=name, **policy)(function)


async def exit_now(_event: Event, _work: Work) -> None:
    sys.exit(3)


async def exit_in_a_task(_event: Event, _work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(exit_now(_event, _work))


async def fail_in_a_group(_event: Event, _work: Work) -> None:
    async def fail() -> None:
        raise KeyError("mine")

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


@pytest.mark.requirement(
    "Faults of others", "c07: `sys.exit()` in a handler is the handler's failure, not the worker's end"
)
async def test_a_handler_that_exits_has_failed(trial: Settings) -> None:
    """Single and long handlers, at once, in a task, in `on_dead`; also a TaskGroup that fails as it ends."""

    async def exit_on_death(_event: Event, _work: Work, _error: BaseException) -> None:
        sys.exit(4)

    functions = {"exit": exit_now, "task": exit_in_a_task, "group": fail_in_a_group}
    single = [handler_of(f"single-{name}", run, retry=ONCE, on_dead=exit_on_death) for name, run in functions.items()]
    long = [
        handles(
            SingleTrialRequested,
            name=f"long-{name}",
            kind="long",
            retry=ONCE,
            resource=lambda event, own=name: f"{event.event_id}/{own}",  # type: ignore[misc]
        )(run)
        for name, run in functions.items()
    ]
    async with open_bench(trial, *single, *long) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 0, "the long deliveries")
        rows = {row["handler"]: row["error"] for row in await bench.executions() if row["status"] == "failure"}
    assert set(rows) == {f"{kind}-{name}" for kind in ("single", "long") for name in functions}
    assert all("ProcessExitError" in rows[f"{kind}-exit"] for kind in ("single", "long"))
    assert all("on_dead failed: the handler raised SystemExit: 4" in rows[f"single-{name}"] for name in functions)
    assert "ExceptionGroup" in rows["single-group"]
    assert "ExceptionGroup" in rows["long-group"]


@pytest.mark.requirement("Faults of others", "c04: a copy that Kafka rejects goes without its value, which is stored")
async def test_a_dead_letter_that_kafka_rejects_goes_without_its_value(trial: Settings) -> None:
    """Of an event and of a record that is none. The value is in the storage, and the offsets move on."""

    async def refuse(_event: Event, _work: Work) -> None:
        raise Permanent("no")

    async with open_bench(trial, handler_of("refuse", refuse)) as bench:
        catalogue = bench.context.catalogue
        large = bench.record(SingleTrialRequested(entity="large", padding=os.urandom(8_000).hex()), 0)
        garbage = Record(large.topic, 0, 1, large.timestamp, "CreateTime", b"garbage", os.urandom(9_000), ())
        small = bench.record(SingleTrialRequested(entity="small"), 2)
        limit(trial, catalogue.dlq(large.topic))
        await bench.settled(bench.feed_records([large, garbage, small]))
        assert len(await bench.query("select id from streams.dead_letters")) == 3
        letters = {letter.key: letter for letter in dead_letters(trial, catalogue, large.topic, 3)}
    for sent in (large, garbage):
        letter = letters[sent.key]
        assert headers.last_text(letter.headers, headers.DLQ_OMITTED) == "value"
        assert headers.last_int(letter.headers, headers.DLQ_OFFSET) == sent.offset
        assert open_store(trial).read(Ticket.read(letter.value or b"").key) == sent.value
    assert letters[small.key].value == small.value


@pytest.mark.requirement("Faults of others", "c04: a copy that Kafka rejects goes without its value, which is stored")
async def test_a_retry_that_kafka_rejects_is_a_dead_letter(trial: Settings) -> None:
    """A delivery that cannot be retried is dead at once; its error says both."""

    async def fail(_event: Event, _work: Work) -> None:
        raise ValueError("try again")

    async with open_bench(trial, handler_of("fail", fail, retry=Backoff(first="1s", attempts=5))) as bench:
        for tier in bench.context.catalogue.tiers("default"):
            limit(trial, tier)
        await bench.settled(bench.feed(SingleTrialRequested(entity="large", padding=os.urandom(8_000).hex())))
        (row,) = await bench.executions()
    assert (row["status"], row["reason"], row["attempts"]) == ("failure", "fatal", 1)
    assert "try again (no retry: " in row["error"]
    assert "MSG_SIZE_TOO_LARGE" in row["error"]


@pytest.mark.requirement("Faults of others", "R1: arguments that JSON cannot represent never matter")
async def test_arguments_that_raise_are_left_out_of_the_row(trial: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger cannot be claimed with them: a dead letter at once, and its row has a placeholder."""

    def fail(_delivery: object) -> str:
        raise ValueError("no JSON")

    monkeypatch.setattr(claim, "args_json", fail)
    monkeypatch.setattr(columns, "args_json", fail)
    long = handles(SingleTrialRequested, name="long", kind="long", retry=ONCE, resource=lambda event: event.entity)
    async with open_bench(trial, handler_of("single", do_nothing), long(do_nothing)) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        rows = await bench.executions()
        assert len(await bench.query("select id from streams.dead_letters")) == 2
    assert [(row["status"], row["args"]) for row in rows] == [
        ("failure", {"omitted": "the database rejected them"})
    ] * 2


@pytest.mark.requirement("Faults of others", "R16: a wait for the ledger's row is no attempt")
async def test_a_locked_row_is_waited_for_and_no_attempt_is_counted(
    trial: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen worker holds the row longer than a lock may take. The handler then runs once, as its first attempt."""
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT", 0.2)
    runs: list[int] = []

    async def run(_event: Event, work: Work) -> None:
        runs.append(work.attempt)

    async with open_bench(trial, handler_of("run", run, retry=ONCE)) as bench:
        event = SingleTrialRequested(entity="e")
        async with AsyncSession(bench.context.database.effects) as frozen:
            await frozen.execute(
                text(
                    'insert into streams.executions (day, event_id, handler, task_id, topic, partition, "offset", '
                    "pool, status, created_at) "
                    "values (current_date, :id, 'run', :id, 't', 0, 0, 'default', 'success', now())"
                ),
                {"id": event.event_id},
            )
            fed = bench.feed(event)
            await asyncio.sleep(0.7)  # three waits for the lock
            assert (fed.unsettled, runs) == (1, [])
            await frozen.rollback()
        await bench.settled(fed)
        (row,) = await bench.executions()
    assert (row["status"], row["attempts"], runs) == ("success", 1, [1])


@pytest.mark.requirement("Faults of others", "c01: an outage in `on_dead` is waited out, and there is one dead letter")
async def test_an_outage_in_on_dead_is_waited_out(trial: Settings) -> None:
    """Its connection is cut. It is called again once the database answers."""
    calls: list[str] = []

    async def refuse(_event: Event, _work: Work) -> None:
        raise Permanent("no")

    async def cut(event: Event, work: Work, _error: BaseException) -> None:
        calls.append("called")
        if len(calls) == 1:
            await work.session.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        await work.session.execute(
            text("insert into trials (event_id, entity, handler) values (:id, 'e', 'dead')"), {"id": event.event_id}
        )

    async with open_bench(trial, handler_of("refuse", refuse, on_dead=cut)) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        (row,) = await bench.executions()
        assert len(await bench.query("select id from streams.dead_letters")) == 1
        assert len(await bench.query("select id from trials")) == 1
    assert (row["status"], len(calls)) == ("failure", 2)
    assert "on_dead failed" not in row["error"]


@pytest.mark.requirement("Large events", "a missing or foreign payload is a dead letter; a ticket leads nowhere else")
async def test_a_ticket_that_does_not_fit_its_payload_is_a_dead_letter(trial: Settings) -> None:
    """Somebody has changed the file. The record behind it is done."""
    async with open_bench(trial, handler_of("run", do_nothing)) as bench:
        large = bench.record(SingleTrialRequested(entity="large", padding="x" * 900_000), 0)
        assert large.value is not None
        open_store(trial).write(Ticket.read(large.value).key, b"something else")
        await bench.settled(bench.feed_records([large, bench.record(SingleTrialRequested(entity="small"), 1)]))
        assert [row["status"] for row in await bench.executions()] == ["success"]
        (letter,) = await bench.query("select reason, error_message from streams.dead_letters")
    assert letter["reason"] == "decode"
    assert "is not the published one" in letter["error_message"]
