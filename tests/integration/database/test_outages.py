"""What is an outage of the database, and what a statement brings upon itself."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg import errors
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from streams.database import Database
from streams.delivery import Backoff, Permanent, Work, handles
from streams.delivery.admission.database_gate import LOST_RUNS, DatabaseGate
from streams.publishing import Outbox
from streams.publishing.outbox.relay import Relay
from streams.settings import Settings
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, note
from tests.support.delivery_engine import Bench, open_bench
from tests.support.processes.worker_process import free_port
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
LATER, ONCE = Backoff(first="1h", attempts=3), Backoff(attempts=1)
END_BACKEND = text("select pg_terminate_backend(pg_backend_pid())")
SECTION = "Faults of others"


async def status(bench: Bench) -> list[tuple[object, object]]:
    """Return status and attempts of each execution."""
    return [(row["status"], row["attempts"]) for row in await bench.executions()]


@pytest.mark.requirement(SECTION, "R7: a statement that ends its own backend is the delivery's failure")
async def test_a_statement_that_ends_its_backend_is_the_deliverys_failure(trial: Settings) -> None:
    """Its first runs are not counted, then each is an attempt. The others of the batch succeed, and no gate closes."""
    runs: list[str] = []

    async def batch(events: Sequence[BatchTrialRequested], work: Work) -> None:
        runs.append("run")
        for event in events:
            if event.entity == "bad":
                await work.session.execute(END_BACKEND)
            await note(event, work, "batch")

    handler = handles(BatchTrialRequested, name="batch", kind="batch", retry=ONCE)(batch)
    async with open_bench(trial, handler, pool="high") as bench:
        reported: list[str | None] = []
        bench.context.gate._report = reported.append
        await bench.settled(bench.feed(*(BatchTrialRequested(entity=entity) for entity in ("a", "bad", "b", "c"))))
        assert sorted(await status(bench)) == [("failure", 1), ("success", 1), ("success", 1), ("success", 1)]
    assert LOST_RUNS < len(runs) < 3 * LOST_RUNS
    assert reported == []


@pytest.mark.requirement(SECTION, "R7: a step of long work that ends its own backend is the delivery's failure")
async def test_a_step_that_ends_its_backend_is_the_deliverys_failure(trial: Settings) -> None:
    """It is not deferred for ever."""
    runs: list[str] = []

    async def long(_event: LongTrialRequested, work: Work) -> None:
        runs.append("run")
        async with work.step() as session:
            await session.execute(END_BACKEND)

    declare = handles(LongTrialRequested, kind="long", retry=LATER, resource=lambda event: event.entity)
    async with open_bench(trial, declare(long), pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 0, "the end")
        assert await status(bench) == [("retry", 1)]
    assert len(runs) == LOST_RUNS + 1


@pytest.mark.requirement(SECTION, "R7: `on_dead` that ends its own backend does not stop the settlement")
async def test_a_hook_that_ends_its_backend_is_left_out(trial: Settings) -> None:
    """The death is recorded with the error of `on_dead`."""

    async def fail(_event: SingleTrialRequested, _work: Work) -> None:
        raise Permanent("no")

    async def end(_event: SingleTrialRequested, work: Work, _error: BaseException) -> None:
        await work.session.execute(END_BACKEND)

    async with open_bench(trial, handles(SingleTrialRequested, on_dead=end)(fail)) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        (row,) = await bench.executions()
    assert row["status"] == "failure"
    assert "on_dead failed" in row["error"]


@pytest.mark.requirement(SECTION, "R7: errors of a handler's own database are not the ledger's")
async def test_a_handlers_own_database_is_not_the_ledger(trial: Settings) -> None:
    """Its outage is a failed attempt at the first run. No other work waits."""
    other = create_async_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/x")

    async def ask(_event: SingleTrialRequested, _work: Work) -> None:
        async with other.connect():
            pass

    async with open_bench(trial, handles(SingleTrialRequested, retry=LATER)(ask)) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")), seconds=5)
        assert await status(bench) == [("retry", 1)]
        assert bench.context.gate.is_open


@pytest.mark.requirement(SECTION, "R7: a statement beyond `temp_file_limit` is the delivery's failure")
async def test_a_limit_of_one_statement_is_no_outage(trial: Settings) -> None:
    """SQLSTATE 53400 counts at once."""

    async def sort(_event: SingleTrialRequested, work: Work) -> None:
        await work.session.execute(text("set local work_mem = '64kB'"))
        await work.session.execute(text("set local temp_file_limit = 0"))
        await work.session.execute(text("select * from generate_series(1, 100000) n order by md5(n::text) limit 50000"))

    async with open_bench(trial, handles(SingleTrialRequested, retry=LATER)(sort)) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")), seconds=5)
        (row,) = await bench.executions()
    assert (row["status"], row["attempts"]) == ("retry", 1)
    assert "temp" in row["error"]


@asynccontextmanager
async def read_only(settings: Settings) -> AsyncIterator[None]:
    """Make the database read-only for new connections, and end the others, as a fail-over to a standby does."""
    url = settings.database_url.get_secret_value().replace("postgresql:", "postgresql+psycopg:")
    admin = create_async_engine(url.rsplit("/", 1)[0] + "/postgres", isolation_level="AUTOCOMMIT")
    name = url.rsplit("/", 1)[1]

    async def change(state: str) -> None:
        async with admin.connect() as connection:
            await connection.exec_driver_sql(f"alter database {name} set default_transaction_read_only = {state}")
            if state == "on":
                await connection.execute(
                    text(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where datname = :name and usename = current_user"
                    ),
                    {"name": name},
                )

    await change("on")
    try:
        yield
    finally:
        await change("off")
        await admin.dispose()


@pytest.mark.requirement(SECTION, "c01: a read-only server is an outage, and its connections are not used again")
async def test_work_waits_for_a_server_that_takes_writes(trial: Settings) -> None:
    """No attempt is counted. The events run as soon as the server takes writes, on new connections."""

    async def effect(event: SingleTrialRequested, work: Work) -> None:
        await note(event, work, "effect")

    async def long(_event: SingleTrialRequested, work: Work) -> None:
        async with work.step(final=True):
            pass

    handlers: list[Any] = [
        handles(SingleTrialRequested)(effect),
        handles(SingleTrialRequested, kind="long", resource=lambda event: event.entity)(long),
    ]
    async with open_bench(trial, *handlers) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="before")))
        async with read_only(trial):
            fed = bench.feed(*(SingleTrialRequested(entity=f"e{number}") for number in range(5)))
            await bench.until(lambda: not bench.context.gate.is_open, "the gate to close")
        await bench.settled(fed)
        await bench.until(lambda: bench.engine.running == 0, "the end")
        assert await status(bench) == [("success", 1)] * 12


@pytest.mark.requirement(SECTION, "R12: a relay leaves a read-only server's connection")
async def test_a_relay_goes_on_after_a_fail_over(trial: Settings) -> None:
    """The connection that was opened while the server was read-only is not used again."""
    async with open_bench(trial) as bench:
        database = Database(trial, effects_pool_size=1, bookkeeping_pool_size=1)
        relay = Relay(database.bookkeeping, bench.context.producer, trial)
        async with AsyncSession(bench.context.database.bookkeeping) as session, session.begin():
            Outbox(session, bench.codec).publish(SingleTrialRequested(entity="e"))
        async with read_only(trial):
            with pytest.raises(DBAPIError, match="read-only"):
                await relay.step()
        assert await relay.step() == 1
        await database.dispose()


@pytest.mark.requirement(SECTION, "R7: a sort that fills the disk is the delivery's failure")
async def test_a_disk_with_space_again_is_no_outage(trial: Settings) -> None:
    """The probe takes space of its own, and leaves nothing behind."""
    cause = DBAPIError("select 1", {}, errors.DiskFull("no space left on device"))
    database = Database(trial)
    gate = DatabaseGate(database.probe)
    assert not await gate.confirm(cause)
    async with database.bookkeeping.begin() as connection:
        assert (await connection.execute(text("select to_regclass('streams_probe')"))).scalar() is None
    assert gate.is_open
    await gate.close()
    await database.dispose()
