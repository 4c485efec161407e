"""A blocked handler beside another one of its topic: it waits in the tiers, and takes nothing from the other."""

import asyncio
from collections import Counter

import pytest
from confluent_kafka import Message

from streams import headers
from streams.delivery import Work, handles
from streams.delivery.delivery import now_ms
from streams.delivery.handler import Handler
from streams.settings import Settings
from streams.transport.kafka.records import Record, to_record
from tests.support.apps.trials import SingleTrialRequested, note
from tests.support.delivery_engine import Bench, open_bench
from tests.support.kafka_records import read_all
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
EVENTS = 100
SUMMARY = """
    select handler, status, attempts, seq, jsonb_array_length(history) as entries, count(*) as rows
    from streams.executions group by 1, 2, 3, 4, 5 order by 1
"""


def events(count: int) -> list[SingleTrialRequested]:
    """Return events of so many tenants that none is over its share of the window."""
    return [SingleTrialRequested(entity=f"e{number}", tenant_id=f"t{number % 20}") for number in range(count)]


def handler(name: str) -> Handler[SingleTrialRequested]:
    async def run(event: SingleTrialRequested, work: Work) -> None:
        await note(event, work, name)

    return handles(SingleTrialRequested, name=name)(run)


def pause(bench: Bench, *handlers: str) -> None:
    """Set the pauses as a refresh from the database does."""
    bench.context.pauses._paused = frozenset(("handler", name) for name in handlers)
    for listener in bench.context.pauses._listeners:
        listener()


def as_record(message: Message) -> Record:
    """Return a record of a tier as the transport delivers it."""
    return to_record(message)


def due_at(record: Record, milliseconds: int) -> Record:
    """Return a retry record that is due at another time (ms since the epoch)."""
    found = ((name, value) for name, value in record.headers if name != headers.DUE_AT)
    changed = (*found, (headers.DUE_AT, str(milliseconds).encode()))
    at, key, value = record.timestamp, record.key, record.value
    return Record(record.topic, record.partition, record.offset, at, "CreateTime", key, value, changed)


def header(record: Record, name: str) -> int:
    found = headers.last_int(record.headers, name)
    assert found is not None
    return found


async def tier_records(settings: Settings, tier: str, count: int) -> list[Record]:
    return [as_record(message) for message in await asyncio.to_thread(read_all, settings, tier, count)]


@pytest.mark.requirement(
    "Faults of others",
    "R8: a paused handler beside another waits in the tiers with growing rests, without slots and further ledger rows",
)
async def test_a_paused_handler_is_deferred_and_resumes_at_once(trial: Settings) -> None:
    """Each delivery gets one row. A second rest writes no row. At the resume all run before their time."""
    async with open_bench(trial, handler("paused"), handler("other"), concurrency=2) as bench:
        pause(bench, "paused")
        await bench.settled(bench.feed(*events(EVENTS)), 60)
        rows = await bench.query(SUMMARY)
        assert [tuple(row.values()) for row in rows] == [
            ("other", "success", 1, 0, 1, EVENTS),
            ("paused", "retry", 0, 0, 1, EVENTS),
        ]

        tier = bench.context.catalogue.tier("default", trial.retry_delays[-1])
        first = await tier_records(trial, tier, EVENTS)
        assert {header(record, headers.DEFERRALS) for record in first} == {1}
        first = [due_at(record, 0) for record in first]
        for partition in {record.partition for record in first}:
            of_partition = [record for record in first if record.partition == partition]
            await bench.settled(bench.feed_records(of_partition, trial.retry_delays[-1]))
        assert await bench.query(SUMMARY) == rows
        every = await tier_records(trial, tier, 2 * EVENTS)
        second = [record for record in every if header(record, headers.DEFERRALS) == 2]
        assert len(second) == EVENTS

        second = [due_at(record, now_ms() + 3_600_000) for record in second]
        fed = [
            bench.feed_records([record for record in second if record.partition == partition], trial.retry_delays[-1])
            for partition in {record.partition for record in second}
        ]
        assert bench.engine.waiting == EVENTS
        pause(bench)
        for assignment in fed:
            await bench.settled(assignment, 60)
        rows = await bench.query(SUMMARY)
        effects = await bench.query("select handler, event_id from trials")
    assert {(row["handler"], row["status"], row["attempts"], row["rows"]) for row in rows} == {
        ("other", "success", 1, EVENTS),
        ("paused", "success", 1, EVENTS),
    }
    assert Counter(row["handler"] for row in effects) == {"other": EVENTS, "paused": EVENTS}
