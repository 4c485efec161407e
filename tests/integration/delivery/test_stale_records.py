"""Records that arrive late, twice, or from another version: they are settled, and nothing runs twice."""

import asyncio
from collections.abc import Callable

from schemas import Event
from streams import headers
from streams.delivery import Backoff, Work, handles
from streams.delivery.delivery import now_ms
from streams.headers import Headers
from streams.settings import Settings
from tests.support.apps.trials import LongTrialRequested, SingleTrialRequested, note, note_limit
from tests.support.delivery_engine import Bench, open_bench
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
DAY_MS = 24 * 60 * 60 * 1000
LETTERS = "select topic, handler, reason, event_id from streams.dead_letters order by topic, handler"


def tier_headers(topic: str, **own: object) -> Headers:
    """Return the headers of a retry record; keyword `due_at` is the header `streams-due-at`."""
    known = {"seq": 1, "attempt": 1, "due_at": 0, "origin_topic": topic, "origin_partition": 0, "origin_offset": 0}
    every = {**known, "origin_timestamp": now_ms(), **own}
    return tuple(
        (headers.STREAMS_PREFIX + name.replace("_", "-"), str(value).encode()) for name, value in every.items()
    )


async def do_nothing(_event: Event, _work: Work) -> None:
    """Succeed."""


KNOWN = handles(SingleTrialRequested, name="known")(do_nothing)


def topic_of(bench: Bench, event: type[Event]) -> str:
    return bench.context.catalogue.of(event).name


async def test_a_handler_that_is_unknown_for_a_day_is_a_dead_letter(trial: Settings) -> None:
    """So is a retry record without a handler. Younger ones wait for a deployment with the handler."""
    async with open_bench(trial, KNOWN) as bench:
        topic = topic_of(bench, SingleTrialRequested)
        old, nameless = SingleTrialRequested(entity="old"), SingleTrialRequested(entity="nameless")
        since = now_ms() - DAY_MS - 60_000
        records = [
            bench.record(old, 0, tier_headers(topic, handler="gone", unknown_since=since)),
            bench.record(nameless, 1, tier_headers(topic)),
        ]
        await bench.settled(bench.feed_records(records, 0.0))
        letters = await bench.query(LETTERS)
        ran = [row for row in await bench.executions() if row["status"] == "success"]
    assert [(row["handler"], row["reason"], row["event_id"]) for row in letters] == [
        ("gone", "unknown-handler", old.event_id),
        (None, "unknown-handler", nameless.event_id),
    ]
    assert ran == []


async def test_a_retry_of_a_topic_that_the_catalogue_has_no_more_is_a_dead_letter(
    trial: Settings, make_topic: Callable[[str, int], None]
) -> None:
    """Its DLQ still exists: the topics of a removed catalogue entry stay on the cluster."""
    async with open_bench(trial, KNOWN) as bench:
        gone = f"{trial.topic_prefix}trial.given-up"
        make_topic(bench.context.catalogue.dlq(gone), 1)
        record = bench.record(SingleTrialRequested(entity="e"), 0, tier_headers(gone, handler="known"))
        await bench.settled(bench.feed_records([record], 0.0))
        (letter,) = await bench.query(LETTERS)
    assert (letter["topic"], letter["reason"]) == (gone, "unknown-handler")


async def test_a_second_record_of_a_long_delivery_runs_nothing(trial: Settings) -> None:
    """Published twice, for example by a relay that crashed before it deleted the row: the second finds the success."""

    async def once(event: LongTrialRequested, work: Work) -> None:
        async with work.step(final=True):
            await note(event, work, "once")

    handler = handles(LongTrialRequested, name="once", kind="long", resource=lambda event: f"trial:{event.entity}")
    async with open_bench(trial, handler(once), pool="low") as bench:
        event = LongTrialRequested(entity="e")
        await bench.settled(bench.feed(event))
        await bench.until(lambda: bench.engine.running == 0, "the first to end")
        await bench.settled(bench.feed(event))
        await bench.until(lambda: bench.engine.running == 0, "the second to end")
        (row,) = await bench.executions()
        effects = await bench.query("select * from trials")
    assert (row["status"], row["attempts"]) == ("success", 1)
    assert len(effects) == 1


async def test_a_long_handler_past_its_soft_limit_runs_on_soft_limit(trial: Settings) -> None:
    """As for a single handler, `on_soft_limit` has its own transaction. Then the attempt counts as failed."""

    async def hang(_event: LongTrialRequested, work: Work) -> None:
        await work.heartbeat()
        await asyncio.Event().wait()

    handler = handles(
        LongTrialRequested,
        name="hang",
        kind="long",
        resource=lambda event: f"trial:{event.entity}",
        retry=Backoff(attempts=1),
        soft_time_limit="1s",  # `on_soft_limit` may take as long
        time_limit="10s",
        on_soft_limit=note_limit,
    )
    async with open_bench(trial, handler(hang), pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 0, "its end")
        (letter,) = await bench.query(LETTERS)
        effects = await bench.query("select handler from trials")
    assert letter["reason"] == "time-limit"
    assert [row["handler"] for row in effects] == ["limit: SoftTimeLimitExceeded"]
