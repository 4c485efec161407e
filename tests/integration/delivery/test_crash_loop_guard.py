"""The crash guard without the deaths, which tests/crash has: its notes are as a killed process leaves them."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery import Work, handles
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.settings import Settings
from streams.transport.kafka.records import Assignment, Chunk
from tests.support.apps.trials import SingleTrialRequested
from tests.support.delivery_engine import Bench, open_bench
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
RAN: list[str] = []


@handles(SingleTrialRequested)
async def note_it(event: SingleTrialRequested, work: Work) -> None:
    """Says that it ran."""
    assert isinstance(work.session, AsyncSession)
    RAN.append(event.entity)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def begin(bench: Bench, *events: SingleTrialRequested) -> Assignment:
    """A worker gets the partition, at offset 0, and its records."""
    records = [bench.record(event, offset) for offset, event in enumerate(events)]
    assignment = Assignment(records[0].topic, 0, bench.context.group)
    assignment.start = 0
    assignment.deliver(records)
    bench.engine.accept(Chunk(assignment, records))
    return assignment


async def starts(bench: Bench) -> list[int]:
    return [row["starts"] for row in await bench.query("select starts from streams.partition_starts")]


async def no_suspects(bench: Bench) -> None:
    """A run's note goes right after its offset is settled."""
    async with asyncio.timeout(10):
        while await bench.query("select * from streams.suspects"):  # noqa: ASYNC110 - only the database can be asked
            await asyncio.sleep(0.01)


async def test_a_third_start_on_one_offset_makes_careful_and_a_moved_offset_does_not(trial: Settings) -> None:
    """Two processes die before they have settled anything; the third runs one at a time and leaves no note behind."""
    for number in (1, 2, 3):
        async with open_bench(trial, note_it) as bench:
            settled = begin(bench, SingleTrialRequested(entity=f"e{number}"))
            await bench.settled(settled)
            assert bench.context.guard.cautious is (number == 3)
            assert await starts(bench) == [number]
            await no_suspects(bench)
    async with open_bench(trial, note_it) as bench:
        moved = Assignment(settled.topic, 0, bench.context.group)
        moved.start = 1
        assert not bench.context.guard.has_noted(moved)
        await bench.context.guard.noted(moved)
        assert bench.context.guard.has_noted(moved)
        assert await starts(bench) == [1]
    assert RAN == ["e1", "e2", "e3"]


async def test_a_suspect_makes_careful_at_any_offset(trial: Settings) -> None:
    """It ran alone when its process died; what came before it is settled since. Below the start it counts no more."""
    event = SingleTrialRequested(entity="e")
    async with open_bench(trial, note_it) as bench:
        topic = bench.codec.encode(event).topic
        for place, offset in ((0, 0), (1, 4)):
            await bench.query(
                "insert into streams.suspects values (:group, :topic, :place, :offset, 'note-it', 1, 'former')",
                group=bench.context.group,
                topic=topic,
                place=place,
                offset=offset,
            )
        for place, careful in ((1, False), (0, True)):
            assignment = Assignment(topic, place, bench.context.group)
            assignment.start = 5 * place
            await bench.context.guard.noted(assignment)
            assert bench.context.guard.cautious is careful


async def test_what_ran_alone_at_two_deaths_is_a_dead_letter_and_is_not_run(trial: Settings) -> None:
    """The culprit alone: `crashed`, in the ledger and as a dead letter; its neighbours run."""
    async with open_bench(trial, note_it) as bench:
        events = [SingleTrialRequested(entity=f"e{number}") for number in range(3)]
        topic = bench.codec.encode(events[0]).topic
        await bench.query(
            "insert into streams.partition_starts values (:group, :topic, 0, 0, 3, 'former')",
            group=bench.context.group,
            topic=topic,
        )
        await bench.query(
            "insert into streams.suspects values (:group, :topic, 0, 1, 'note-it', 2, 'former')",
            group=bench.context.group,
            topic=topic,
        )
        await bench.settled(begin(bench, *events))
        assert RAN == ["e0", "e2"]
        found = [(row["event_id"], row["status"], row["reason"]) for row in await bench.executions()]
        assert sorted(found) == sorted(
            [
                (events[0].event_id, "success", None),
                (events[1].event_id, "failure", "crashed"),
                (events[2].event_id, "success", None),
            ]
        )
        assert [row["reason"] for row in await bench.query("select reason from streams.dead_letters")] == ["crashed"]
        assert bench.context.guard.cautious is False
        assert await bench.query("select * from streams.suspects") == []


async def test_a_clean_end_takes_its_notes_back_and_only_its_own(trial: Settings) -> None:
    """Revocation and shutdown are no deaths; what another worker has noted since stays."""
    async with open_bench(trial, note_it) as bench:
        await bench.settled(begin(bench, SingleTrialRequested(entity="e")))
        other = CrashLoopGuard(
            bench.context.database.bookkeeping, bench.context.gate, "another worker", bench.crashes.append
        )
        await other.close(clean=True)
        assert await starts(bench) == [1]
        await bench.context.guard.close(clean=False)
        assert await starts(bench) == [1]
        await bench.context.guard.close(clean=True)
        assert await starts(bench) == []
