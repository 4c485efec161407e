"""A settlement whose COMMIT is cut off is repeated: it is counted and logged once, and leaves one record and row.

Cut before the server sees the COMMIT, the first try has done nothing. Cut before its answer, the first try is done and
the second finds that; nobody else has reported it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from schemas import Event
from streams.delivery import Backoff, Handler, Permanent, Unavailable, Work, handles
from streams.observability.metrics import REGISTRY
from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.delivery_engine import Bench, open_bench
from tests.support.kafka_records import end_offsets
from tests.support.proxies.commit_cutter import CommitCutter, Cut, cut_commits
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
LATER = Backoff(first="1h", attempts=3)
CUTS: tuple[Cut, ...] = ("unsent", "unanswered")
SETTLED_ELSEWHERE = """
    insert into streams.executions
        (day, event_id, handler, task_id, topic, partition, "offset", pool, status, seq, created_at)
    values ((now() at time zone 'utc')::date, :id, 'dies', :id, 't', 0, 0, 'default', 'success', 1, now())
"""
Function = Callable[[SingleTrialRequested, Work], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A handler, and the expected outcome of its one delivery."""

    handler: Handler[SingleTrialRequested]
    status: str
    outcome: str
    """The outcome in the metric."""
    line: str
    """The message in the log."""


async def hang(_event: Event, _work: Work, _error: BaseException) -> None:
    """Never end: `on_dead` is cut off, and its transaction is lost."""
    await asyncio.sleep(3600)


def cases(before: Callable[[], None]) -> dict[str, Case]:
    """Return each kind of settlement. `before` is called in the attempt, before the COMMIT of the settlement."""

    def failing(error: Exception) -> Function:
        async def fail(_event: SingleTrialRequested, _work: Work) -> None:
            before()
            raise error

        return fail

    dies, fails = failing(Permanent("no")), failing(ValueError("fails"))
    waits = failing(Unavailable("provider", "the provider answered 503"))
    declare = handles(SingleTrialRequested, name="dies")
    cut_off = handles(SingleTrialRequested, name="dies", on_dead=hang)
    long = handles(SingleTrialRequested, name="dies", kind="long", resource=lambda event: event.entity)
    return {
        "death": Case(declare(dies), "failure", "dead", "dead letter"),
        "death, on_dead cut off": Case(cut_off(dies), "failure", "dead", "dead letter"),
        "death of long work": Case(long(dies), "failure", "dead", "dead letter"),
        "retry": Case(
            handles(SingleTrialRequested, name="fails", retry=LATER)(fails), "retry", "retry", "retry scheduled"
        ),
        "deferral": Case(
            handles(SingleTrialRequested, name="waits", needs="provider")(waits),
            "retry",
            "deferred",
            "delivery deferred",
        ),
    }


def through(settings: Settings, url: str) -> Settings:
    """Return the settings with the database behind a proxy, and little time for `on_dead`."""
    return settings.model_copy(update={"database_url": SecretStr(url), "settle_timeout": 1.0})


def counted(bench: Bench, case: Case) -> dict[str, float]:
    """Return the metrics of the handler."""
    topic = bench.context.catalogue.of(SingleTrialRequested).name
    labels = {"topic": topic, "handler": case.handler.name}
    return {
        "deliveries": REGISTRY.get_sample_value(
            "streams_deliveries_total", {**labels, "consumergroup": bench.context.group, "outcome": case.outcome}
        )
        or 0.0,
        "dead letters": REGISTRY.get_sample_value("streams_dead_letters_total", {**labels, "reason": "permanent"})
        or 0.0,
    }


def lines_of(output: str, message: str) -> int:
    """Return how often a message is in the log."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return sum(line["message"] == message for line in lines)


def records_of(bench: Bench, case: Case) -> int:
    """Return the number of records in the DLQ or in the tiers."""
    catalogue, settings = bench.context.catalogue, bench.settings
    if case.status == "failure":
        return end_offsets(settings, catalogue.dlq(catalogue.of(SingleTrialRequested).name))
    return sum(end_offsets(settings, tier) for tier in catalogue.tiers(bench.context.pool.name))


@pytest.mark.requirement(
    "Source tree and packaging",
    "a settlement that is repeated after a connection was cut at COMMIT counts and logs its death once",
)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", list(cases(lambda: None)))
async def test_a_settlement_cut_off_in_its_commit_is_reported_once(
    name: str, cut: Cut, trial: Settings, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with cut_commits(database_url) as (cutter, url):

        def plan() -> None:
            cutter.planned = [cut]

        case = cases(plan)[name]
        async with open_bench(through(trial, url), case.handler) as bench:
            before = counted(bench, case)
            fed = bench.feed(SingleTrialRequested(entity="e"))
            await bench.settled(fed)
            await bench.until(lambda: bench.engine.running == 0, "the long delivery to end")
            after = counted(bench, case)
            (row,) = await bench.executions()
            letters = await bench.query("select * from streams.dead_letters")
            assert await asyncio.to_thread(records_of, bench, case) == 1
    assert {"unsent": cutter.unsent, "unanswered": cutter.unanswered}[cut] == 1
    assert (row["status"], row["seq"], len(row["history"])) == (case.status, 1, 1)
    dead = case.status == "failure"
    assert len(letters) == dead
    assert {what: after[what] - before[what] for what in after} == {"deliveries": 1, "dead letters": dead}
    assert lines_of(capsys.readouterr().err, case.line) == 1


@pytest.mark.requirement(
    "Source tree and packaging",
    "a settlement that is repeated after a connection was cut at COMMIT counts and logs its death once",
)
async def test_a_delivery_that_moved_on_before_the_second_try_is_not_reported(
    trial: Settings, engine: Engine, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first try fails, and another worker settles the delivery while this one has no database."""
    with cut_commits(database_url) as (cutter, url):

        def plan() -> None:
            cutter.planned, cutter.closing = ["unsent"], True

        case = cases(plan)["death"]
        async with open_bench(through(trial, url), case.handler) as bench:
            before = counted(bench, case)
            event = SingleTrialRequested(entity="e")
            fed = bench.feed(event)
            await bench.until(lambda: cut_off(cutter), "the cut")
            with engine.begin() as connection:
                connection.execute(text(SETTLED_ELSEWHERE), {"id": event.event_id})
            cutter.closing = cutter.closed = False
            await bench.settled(fed)
            after = counted(bench, case)
            (row,) = await bench.executions()
    assert (row["status"], after) == ("success", before)
    output = capsys.readouterr().err
    assert (lines_of(output, "dead letter"), lines_of(output, "delivery has moved on already")) == (0, 1)


def cut_off(cutter: CommitCutter) -> bool:
    """Return whether the planned cut has happened."""
    return cutter.unsent == 1
