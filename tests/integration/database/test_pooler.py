"""A connection pooler in transaction mode is in front of the database."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from streams.database import Database
from streams.delivery import Backoff, Work, handles
from streams.delivery.execution.transaction import EffectTransaction
from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested, note
from tests.support.delivery_engine import open_bench
from tests.support.proxies.transaction_pooler import FAKE_PID, transaction_pooler
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
SECTION = "Faults of others"


@pytest.fixture
def pooled(trial: Settings) -> Iterator[Settings]:
    """Return the settings of a process behind a pooler."""
    with transaction_pooler(trial.database_url.get_secret_value()) as url:
        yield Settings.model_validate({**trial.model_dump(), "database_url": url, "database_pooler": "transaction"})


@pytest.mark.requirement(SECTION, "R14: behind PgBouncer in transaction mode, each event is done once")
async def test_each_event_is_done_once_behind_a_pooler(pooled: Settings) -> None:
    """Statements repeat often enough to be prepared; failures, long work and batches settle too."""

    async def single(event: SingleTrialRequested, work: Work) -> None:
        await note(event, work, "single")
        if event.entity == "e3":
            raise ValueError("no")

    async def long(_event: SingleTrialRequested, work: Work) -> None:
        async with work.step(final=True):
            pass

    later = Backoff(first="1h", attempts=2)
    handlers = [
        handles(SingleTrialRequested, retry=later)(single),
        handles(SingleTrialRequested, kind="long", resource=lambda event: str(event.event_id))(long),
    ]
    async with open_bench(pooled, *handlers) as bench:
        await bench.settled(bench.feed(*(SingleTrialRequested(entity=f"e{number}") for number in range(40))))
        await bench.until(lambda: bench.engine.running == 0, "the end")
        found = await bench.query("select status, count(*) as n from streams.executions group by status")
        effects = await bench.query("select count(*) as n from trials")
    assert {row["status"]: row["n"] for row in found} == {"success": 79, "retry": 1}
    assert effects == [{"n": 39}]


@pytest.mark.requirement(SECTION, "R14: behind PgBouncer, the backend of a handler beyond its limit is ended")
async def test_the_backend_of_a_handler_is_the_servers(pooled: Settings) -> None:
    """A pooler gives clients a process id of its own. That of the server is ended at the hard limit."""
    database = Database(pooled)
    async with EffectTransaction(database.effects, time_limit=5) as transaction:
        found = (await transaction.session.execute(text("select pg_backend_pid()"))).scalar()
        assert transaction.backend_pid == found != FAKE_PID
    await database.dispose()


@pytest.mark.requirement(SECTION, "R14: behind PgBouncer, statements of the pipeline keep their time limit")
async def test_a_pooled_statement_has_a_time_limit(pooled: Settings) -> None:
    """It is set in each transaction, since the next one may have another server connection."""
    database = Database(pooled)
    async with database.bookkeeping.connect() as connection:
        assert (await connection.execute(text("show statement_timeout"))).scalar() == "30s"
    await database.dispose()
