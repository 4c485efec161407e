"""The crash-loop guard without crashes (see tests/crash): the tests write the rows that a killed process leaves."""

import asyncio
from collections.abc import Mapping

import pytest
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery import Work, handles
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.crash_loop_rows import DECODING, DELETE_SUSPECT, UPSERT_SUSPECT
from streams.settings import Settings
from streams.transport.kafka.records import Assignment, Chunk, Record
from tests.support.apps.trials import SingleTrialRequested
from tests.support.delivery_engine import Bench, open_bench
from tests.support.kafka_records import UnreadableHeaders
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
RAN: list[str] = []


@handles(SingleTrialRequested)
async def note_it(event: SingleTrialRequested, work: Work) -> None:
    """Record that the handler ran."""
    assert isinstance(work.session, AsyncSession)
    RAN.append(event.entity)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def begin(bench: Bench, *events: SingleTrialRequested) -> Assignment:
    """Assign the partition at offset 0 and deliver its records."""
    records = [bench.record(event, offset) for offset, event in enumerate(events)]
    assignment = Assignment(records[0].topic, 0, bench.context.group)
    assignment.start = 0
    assignment.deliver(records)
    bench.engine.accept(Chunk(assignment, records))
    return assignment


async def starts(bench: Bench) -> list[int]:
    return [row["starts"] for row in await bench.query("select starts from streams.partition_starts")]


async def former_starts(bench: Bench, topic: str, count: int) -> None:
    """Write the starts of a former process at offset 0 of partition 0."""
    await bench.query(
        "insert into streams.partition_starts values (:group, :topic, 0, 0, :count, 'former')",
        group=bench.context.group,
        topic=topic,
        count=count,
    )


async def former_runs(bench: Bench, topic: str, place: int, offset: int, handler: str, count: int) -> None:
    """Write a suspect of a former process: its isolated runs that ended with a crash."""
    await bench.query(
        "insert into streams.suspects values (:group, :topic, :place, :offset, :handler, :count, 'former')",
        group=bench.context.group,
        topic=topic,
        place=place,
        offset=offset,
        handler=handler,
        count=count,
    )


async def no_suspects(bench: Bench) -> None:
    """Return when no suspect is left. A row is deleted shortly after its offset is settled."""
    async with asyncio.timeout(10):
        while await bench.query("select * from streams.suspects"):  # noqa: ASYNC110 - only the database shows it
            await asyncio.sleep(0.01)


@pytest.mark.requirement("Faults and operations", "a record that kills its process every time, both protocols")
async def test_a_third_start_on_one_offset_makes_careful_and_a_moved_offset_does_not(trial: Settings) -> None:
    """Two processes end before they settle anything. The third runs deliveries in isolation and leaves no suspect."""
    for number in (1, 2, 3):
        async with open_bench(trial, note_it) as bench:
            settled = begin(bench, SingleTrialRequested(entity=f"e{number}"))
            await bench.settled(settled)
            assert bench.context.guard.is_isolating is (number == 3)
            assert await starts(bench) == [number]
            await no_suspects(bench)
    async with open_bench(trial, note_it) as bench:
        moved = Assignment(settled.topic, 0, bench.context.group)
        moved.start = 1
        assert not bench.context.guard.is_registered(moved)
        await bench.context.guard.register(moved)
        assert bench.context.guard.is_registered(moved)
        assert await starts(bench) == [2]
        assert not bench.context.guard.is_isolating
    assert RAN == ["e1", "e2", "e3"]


@pytest.mark.requirement("Faults of others", "R3: an orderly end after a failure counts as a crash")
async def test_the_third_start_is_careful_if_records_were_settled_before_the_first_crash(trial: Settings) -> None:
    """An orderly end commits the offsets before the culprit. The second start and the third begin there."""
    for offset, careful in ((0, False), (5, False), (5, True)):
        async with open_bench(trial, note_it) as bench:
            assignment = Assignment("a-topic", 0, bench.context.group)
            assignment.start = offset
            await bench.context.guard.register(assignment)
            assert bench.context.guard.is_isolating is careful


@pytest.mark.requirement("Faults and operations", "a record that kills its process every time, both protocols")
async def test_a_suspect_makes_careful_at_any_offset(trial: Settings) -> None:
    """Records before the suspect were settled since. A suspect below the start of the assignment is ignored."""
    event = SingleTrialRequested(entity="e")
    async with open_bench(trial, note_it) as bench:
        topic = bench.codec.encode(event).topic
        for place, offset in ((0, 0), (1, 4)):
            await former_runs(bench, topic, place, offset, "note-it", 1)
        for place, careful in ((1, False), (0, True)):
            assignment = Assignment(topic, place, bench.context.group)
            assignment.start = 5 * place
            await bench.context.guard.register(assignment)
            assert bench.context.guard.is_isolating is careful
            assert bench.context.guard.suspects() == {bench.context.group: int(careful)}
        bench.context.guard.on_revoked([assignment])
        assert bench.context.guard.suspects() == {bench.context.group: 0}


@pytest.mark.requirement("Faults and operations", "a record that kills its process every time, both protocols")
async def test_what_ran_alone_at_two_deaths_is_a_dead_letter_and_is_not_run(trial: Settings) -> None:
    """Only the suspect is dead-lettered, with the reason `crashed`. Its neighbours run."""
    async with open_bench(trial, note_it) as bench:
        events = [SingleTrialRequested(entity=f"e{number}") for number in range(3)]
        topic = bench.codec.encode(events[0]).topic
        await former_starts(bench, topic, 3)
        await former_runs(bench, topic, 0, 1, "note-it", 2)
        assignment = begin(bench, *events)
        guard = bench.context.guard
        await bench.until(lambda: guard.is_isolating, "the isolation to begin")
        assert guard.suspects() == {bench.context.group: 1}
        await bench.settled(assignment)
        assert guard.suspects() == {bench.context.group: 0}
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
        assert bench.context.guard.is_isolating is False
        assert await bench.query("select * from streams.suspects") == []


@pytest.mark.requirement("Faults and operations", "a record that kills its process every time, both protocols")
async def test_a_clean_end_takes_its_notes_back_and_only_its_own(trial: Settings) -> None:
    """A revocation or a shutdown is not a crash. Rows of another worker stay."""
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


def a_guard(bench: Bench, *, failed: bool) -> CrashLoopGuard:
    database, gate = bench.context.database.bookkeeping, bench.context.gate
    return CrashLoopGuard(database, gate, "bench", bench.crashes.append, lambda: failed)


@pytest.mark.requirement("Faults of others", "R3: an orderly end after a failure counts as a crash")
@pytest.mark.parametrize("failed", [True, False])
async def test_an_end_after_a_failure_keeps_its_starts(trial: Settings, failed: bool) -> None:  # noqa: FBT001
    """The consumers leave their group in order, so the partitions are revoked. The next start must count this one."""
    async with open_bench(trial, note_it) as bench:
        guard = a_guard(bench, failed=failed)
        assignment = Assignment("any", 0, bench.context.group)
        assignment.start = 7
        await guard.register(assignment)
        guard.on_revoked([assignment])
        await guard.close(clean=True)
        assert await starts(bench) == ([1] if failed else [])


@pytest.mark.requirement("Faults of others", "R15: a cancelled delivery has crashed nothing")
async def test_a_delivery_that_is_cancelled_in_isolation_is_no_suspect(trial: Settings) -> None:
    """It runs longer than a revocation waits. Two rebalances would make it a dead letter."""
    running = asyncio.Event()

    async def hang(_event: SingleTrialRequested, _work: Work) -> None:
        running.set()
        await asyncio.sleep(60)

    async with open_bench(trial, handles(SingleTrialRequested, name="note-it")(hang)) as bench:
        topic = bench.codec.encode(SingleTrialRequested(entity="e")).topic
        await former_starts(bench, topic, 3)
        assignment = begin(bench, SingleTrialRequested(entity="e"))
        await asyncio.wait_for(running.wait(), 15)
        assert len(await bench.query("select * from streams.suspects")) == 1
        assignment.revoking = assignment.revoked = True
        bench.engine.on_revoked([assignment])
        await bench.until(lambda: bench.engine.running == 0, "the cancelled unit")
        await no_suspects(bench)


class HaltingGuard(CrashLoopGuard):
    """A guard whose callers wait after one of its statements, until they are cancelled."""

    halts_after: TextClause | None = None
    halted: asyncio.Event

    async def _execute(self, statement: TextClause, values: Mapping[str, object]) -> list[Mapping[str, int]]:
        found = await super()._execute(statement, values)
        if statement is self.halts_after:
            self.halts_after = None
            self.halted.set()
            await asyncio.Event().wait()
        return found


@pytest.mark.requirement("Faults of others", "R15: a cancelled delivery has crashed nothing")
@pytest.mark.parametrize("crashes", [0, 1, 2])
@pytest.mark.parametrize("statement", [UPSERT_SUSPECT, DELETE_SUSPECT], ids=["accused", "acquitted"])
async def test_a_decoding_that_is_cancelled_in_a_statement_does_not_count(
    trial: Settings, statement: TextClause, crashes: int
) -> None:
    """Only the crashes of before stay, and none of what was decoded to its end. Three rebalances change nothing."""
    async with open_bench(trial, note_it) as bench:
        context = bench.context
        guard = HaltingGuard(context.database.bookkeeping, context.gate, "bench", bench.crashes.append)
        guard.halted = asyncio.Event()
        record = bench.record(SingleTrialRequested(entity="e"), 0)
        assignment = Assignment(record.topic, 0, context.group)
        if crashes:
            await former_runs(bench, record.topic, 0, 0, DECODING, crashes)
        for _ in range(3):
            guard.halts_after = statement
            decoding = asyncio.create_task(guard.decode_isolated(assignment, record, lambda: True))
            halted = asyncio.create_task(guard.halted.wait())
            async with asyncio.timeout(20):
                await asyncio.wait({decoding, halted}, return_when=asyncio.FIRST_COMPLETED)
            for task in (decoding, halted):
                task.cancel()
            await asyncio.wait({decoding, halted})
            guard.halted.clear()
        left = [row["runs"] for row in await bench.query("select runs from streams.suspects")]
        if crashes == 2 and statement is DELETE_SUSPECT:
            assert left == [5], "it is dead-lettered without being decoded"
        else:
            assert left == ([crashes] if crashes and statement is UPSERT_SUSPECT else [])


@pytest.mark.requirement("Faults of others", "R3: what crashes its process while it is decoded is a dead letter")
async def test_what_was_decoded_alone_at_two_deaths_is_a_dead_letter_and_is_not_read(trial: Settings) -> None:
    """Nothing of it is read again, neither its headers nor its value. Its neighbours run."""
    source = UnreadableHeaders()
    async with open_bench(trial, note_it) as bench:
        records = [bench.record(SingleTrialRequested(entity=f"e{offset}"), offset) for offset in range(3)]
        topic = records[0].topic
        deadly = records[1] = Record(topic, 0, 1, records[1].timestamp, "CreateTime", b"deadly", b"value", source)
        await former_starts(bench, topic, 4)
        await former_runs(bench, topic, 0, 1, "", 2)
        assignment = Assignment(topic, 0, bench.context.group)
        assignment.start = 0
        assignment.deliver(records)
        bench.engine.accept(Chunk(assignment, records))
        await bench.settled(assignment)
        assert (RAN, source.calls, deadly.headers) == (["e0", "e2"], 0, ())
        assert [row["reason"] for row in await bench.query("select reason from streams.dead_letters")] == ["crashed"]
        await no_suspects(bench)
