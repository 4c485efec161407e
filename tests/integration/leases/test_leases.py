"""Leases of long deliveries: long steps, failing heartbeats and lost replies cost no attempt and nobody's time."""

import asyncio
import time
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine, text

from schemas import Event
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import Handler
from streams.settings import Settings
from tests.support.apps.trials import LongTrialRequested, SingleTrialRequested, note
from tests.support.delivery_engine import Bench, open_bench
from tests.support.proxies.commit_cutter import cut_commits
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
LEASE = 0.9
REQUEST_TIMEOUT = 1.0
"""The bookkeeping connections' statement_timeout."""
STEP = 3.0
LATER = Backoff(first="1h", attempts=2, jitter=0)
ROW = 'select status, attempts, lost_leases, error from streams.executions where "handler" = :handler'


@pytest.fixture
def quick(trial: Settings) -> Settings:
    """The test's settings with short leases and a short time limit of statements."""
    return trial.model_copy(update={"lease_seconds": LEASE, "database_request_timeout": REQUEST_TIMEOUT})


def long_handler(function: Callable[..., object]) -> Handler[LongTrialRequested]:
    """Return a handler whose resource is the part of the entity before a colon."""
    declare = handles(
        LongTrialRequested,
        name="long",
        kind="long",
        retry=LATER,
        resource=lambda event: event.entity.partition(":")[0],
    )
    return declare(function)  # type: ignore[arg-type]


async def sweep_until_idle(bench: Bench) -> int:
    """Sweep all the time until nothing runs; return how many settlements that began."""
    begun = 0
    while bench.engine.running:
        begun += await bench.engine.sweep.run()
        await asyncio.sleep(0.1)
    return begun


@pytest.mark.requirement("Faults of others", "R4: a step longer than the lease and the statement timeout runs once")
async def test_a_step_that_outlasts_its_lease_keeps_it(quick: Settings) -> None:
    """The delivery succeeds at its first attempt, its lease stays valid, and `heartbeat()` in the step returns."""
    beats: list[float] = []

    async def work_long(event: LongTrialRequested, work: Work) -> None:
        async with work.step() as session:
            await session.execute(text("select pg_sleep(:seconds)"), {"seconds": STEP / 2})
            began = time.monotonic()
            await work.heartbeat()
            beats.append(time.monotonic() - began)
            await session.execute(text("select pg_sleep(:seconds)"), {"seconds": STEP / 2})
        async with work.step(final=True):
            await note(event, work, "long")

    async with open_bench(quick, long_handler(work_long), pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 1, "the step")
        begun = await sweep_until_idle(bench)
        (row,) = await bench.query(ROW, handler="long")
        assert len(await bench.query("select * from trials")) == 1
        assert await bench.query("select * from streams.leases") == []
    assert (row["status"], row["attempts"], row["lost_leases"], begun) == ("success", 1, 0, 0)
    assert beats[0] < REQUEST_TIMEOUT / 2


@pytest.mark.requirement("Faults of others", "R4: the sweep and other deliveries wait for no open step")
async def test_an_open_step_without_heartbeats_is_skipped_by_the_sweep_and_by_a_claim(quick: Settings) -> None:
    """Its lease has expired in the table, as for a worker whose loop is blocked: nobody settles it or waits for it."""
    stepped, go_on = asyncio.Event(), asyncio.Event()

    async def work_long(event: LongTrialRequested, work: Work) -> None:
        if event.plan == "sleep":
            async with work.step():
                stepped.set()
                await go_on.wait()
        async with work.step(final=True):
            await note(event, work, "long")

    settings = quick.model_copy(update={"lease_seconds": 60.0})
    async with open_bench(settings, long_handler(work_long), pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e:1", plan="sleep")))
        await bench.until(stepped.is_set, "the step")
        await bench.query("update streams.leases set until = clock_timestamp() - interval '1 minute'")
        await bench.query("update streams.executions set lease_until = clock_timestamp() - interval '1 minute'")
        began = time.monotonic()
        assert await bench.engine.sweep.run() == 1
        await bench.settled(bench.feed(LongTrialRequested(entity="e:2")))
        took = time.monotonic() - began
        rows = await bench.query("select status, lost_leases from streams.executions order by event_id")
        go_on.set()
        await bench.until(lambda: bench.engine.running == 0, "the end")
        (first, _) = await bench.query("select status, attempts from streams.executions order by event_id")
    assert [(row["status"], row["lost_leases"]) for row in rows] == [("started", 0), ("retry", 0)]
    assert took < REQUEST_TIMEOUT
    assert (first["status"], first["attempts"]) == ("success", 1)


@pytest.mark.requirement("Faults of others", "R4: long steps leave the bookkeeping connections to others")
async def test_long_steps_leave_bookkeeping_its_connections(quick: Settings) -> None:
    """Six steps, more than there are connections: failures beside them are settled, and the gate stays open."""

    async def work_long(_event: LongTrialRequested, work: Work) -> None:
        async with work.step(final=True) as session:
            await session.execute(text("select pg_sleep(:seconds)"), {"seconds": STEP * 2})

    async def fail(_event: Event, _work: Work) -> None:
        raise ValueError("no")

    failing = handles(SingleTrialRequested, name="fail", retry=LATER)(fail)
    async with open_bench(quick, long_handler(work_long), failing, pool="low", concurrency=12) as bench:
        trips: list[bool] = []
        bench.feed(*(LongTrialRequested(entity=f"e{number}") for number in range(6)))
        await bench.until(lambda: bench.engine.running == 6, "the steps")
        failures = bench.feed(*(SingleTrialRequested(entity=f"e{number}") for number in range(20)))
        await bench.until(
            lambda: trips.append(bench.context.gate.is_open) or failures.unsettled == 0,  # type: ignore[func-returns-value]
            "the failures to be settled",
        )
        assert bench.engine.running >= 6, "the failures waited for the steps"
        await bench.until(
            lambda: trips.append(bench.context.gate.is_open) or bench.engine.running == 0,  # type: ignore[func-returns-value]
            "the steps to end",
        )
        rows = await bench.query(ROW, handler="long")
    assert all(trips)
    assert [(row["status"], row["attempts"]) for row in rows] == [("success", 1)] * 6


@pytest.mark.requirement("Faults of others", "R4: a failed heartbeat is logged and repeated")
async def test_a_heartbeat_that_fails_is_repeated(quick: Settings, engine: Engine) -> None:
    """The table of leases is locked for longer than a statement may take. The delivery keeps its lease and succeeds."""
    begun = asyncio.Event()

    async def work_long(event: LongTrialRequested, work: Work) -> None:
        begun.set()
        await asyncio.sleep(STEP)
        async with work.step(final=True):
            await note(event, work, "long")

    def lock() -> None:
        with engine.begin() as connection:
            connection.execute(text("lock table streams.leases in exclusive mode"))
            connection.execute(text("select pg_sleep(:seconds)"), {"seconds": REQUEST_TIMEOUT * 2})

    async with open_bench(quick, long_handler(work_long), pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e")))
        await bench.until(begun.is_set, "the handler")
        await asyncio.to_thread(lock)
        await bench.until(lambda: bench.engine.running == 0, "the end")
        (row,) = await bench.query(ROW, handler="long")
    assert (row["status"], row["attempts"], row["lost_leases"]) == ("success", 1, 0)


async def test_a_handler_that_works_after_its_final_step_loses_no_lease(trial: Settings) -> None:
    """Heartbeats are due while it runs. Its result is stored, and an error that it raises then is only logged."""

    async def work_long(event: LongTrialRequested, work: Work) -> dict[str, int]:
        async with work.step(final=True):
            await note(event, work, "long")
        await asyncio.sleep(0.5)
        if event.plan == "fail":
            raise ValueError(event.plan)
        return {"keys": 3}

    def lost() -> float:
        return REGISTRY.get_sample_value("streams_leases_lost_total", {"handler": "long"}) or 0.0

    before = lost()
    settings = trial.model_copy(update={"lease_seconds": 0.3})
    async with open_bench(settings, long_handler(work_long), pool="low") as bench:
        for event in (LongTrialRequested(entity="first"), LongTrialRequested(entity="second", plan="fail")):
            await bench.settled(bench.feed(event))
            await bench.until(lambda: bench.engine.running == 0, "the end")
        rows = await bench.query(
            "select status, attempts, lost_leases, result from streams.executions order by created_at"
        )
    assert [(row["status"], row["attempts"], row["lost_leases"]) for row in rows] == [("success", 1, 0)] * 2
    assert [row["result"] for row in rows] == [{"keys": 3}, None]
    assert lost() == before


async def test_steps_at_the_same_time_run_one_after_the_other_and_do_not_nest(quick: Settings) -> None:
    """Each of two concurrent steps has its own session. A step inside a step is an error at once."""
    open_steps: list[int] = []

    async def work_long(_event: LongTrialRequested, work: Work) -> None:
        async def one() -> None:
            async with work.step() as session:
                open_steps.append(open_steps.count(1) - open_steps.count(-1))
                assert session is work.session
                await session.execute(text("select pg_sleep(0.1)"))

        await asyncio.gather(one(), one())
        async with work.step(), work.step():
            pass

    async with open_bench(quick, long_handler(work_long), pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 0, "the end")
        (row,) = await bench.query(ROW, handler="long")
    assert len(open_steps) == 2
    assert row["status"] == "retry"
    assert "opens a step inside a step" in row["error"]


@pytest.mark.requirement("Faults of others", "R23: a claim whose COMMIT had no reply goes on with its own lease")
async def test_a_claim_without_a_reply_goes_on(trial: Settings, database_url: str) -> None:
    """The connection is cut after the COMMIT of the claim: the delivery runs at once, and loses no lease."""

    async def work_long(event: LongTrialRequested, work: Work) -> None:
        async with work.step(final=True):
            await note(event, work, "long")

    with cut_commits(database_url) as (cutter, url):
        settings = Settings.model_validate({**trial.model_dump(), "database_url": url})
        async with open_bench(settings, long_handler(work_long), pool="low") as bench:
            for cut in ("unanswered", "unsent"):
                cutter.planned = [cut]
                await bench.settled(bench.feed(LongTrialRequested(entity=cut)))
                await bench.until(lambda: bench.engine.running == 0, "the end")
            rows = await bench.query(ROW, handler="long")
            effects = await bench.query("select entity from trials order by id")
            assert await bench.query("select * from streams.leases") == []
    assert (cutter.unanswered, cutter.unsent) == (1, 1)
    assert [(row["status"], row["attempts"], row["lost_leases"]) for row in rows] == [("success", 1, 0)] * 2
    assert [row["entity"] for row in effects] == ["unanswered", "unsent"]
