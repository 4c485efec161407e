"""A bad event or handler, or an outage, must not block a pool, end a worker, or lose or repeat work."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from schemas.event import new_event_id
from streams import headers
from streams.database import sync_engine
from streams.delivery import Backoff, Permanent, Retry, Work, handles
from streams.delivery.admission.database_gate import database_error_kind
from streams.delivery.delivery import now_ms
from streams.delivery.execution import transaction
from streams.delivery.execution.time_limits import CANCEL_GRACE
from streams.delivery.handler import JSON
from streams.headers import Headers
from streams.settings import Settings
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, note, spin
from tests.support.delivery_engine import Bench, SlowRecords, open_bench
from tests.support.kafka_records import end_offsets
from tests.support.processes.worker_process import WorkerProcess, publish, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
ONCE = Backoff(attempts=1)
LATER = Backoff(first="1h", attempts=3)


def tier_headers(bench: Bench, event: Event, handler: str, **changed: object) -> Headers:
    """Return the headers of a retry record; keyword `due_at` is the header `streams-due-at`."""
    topic = bench.context.catalogue.of(type(event)).name
    known = {"handler": handler, "seq": 1, "attempt": 1, "due_at": 0, "origin_topic": topic, "origin_partition": 0}
    every = {**known, "origin_offset": 0, "origin_timestamp": now_ms(), **changed}
    return tuple(
        (headers.STREAMS_PREFIX + name.replace("_", "-"), str(value).encode()) for name, value in every.items()
    )


def statuses(rows: Sequence[dict[str, object]]) -> dict[object, object]:
    """Return handler → status of its one delivery."""
    return {row["handler"]: row["status"] for row in rows}


async def do_nothing(_event: Event, _work: Work) -> None:
    """Succeed."""


# Faults of handlers


async def test_a_handler_that_raises_a_cancellation_of_its_own_has_failed(trial: Settings) -> None:
    """The handler awaits a cancelled task. The engine did not cancel it, so it is retried and nothing blocks."""

    async def await_a_cancelled_task(_event: Event, _work: Work) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    single = handles(SingleTrialRequested, name="single", retry=LATER)(await_a_cancelled_task)
    long = handles(SingleTrialRequested, name="long", kind="long", retry=LATER, resource=lambda event: event.entity)(
        await_a_cancelled_task
    )
    async with open_bench(trial, single, long) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 0, "the long delivery to end")
        found = await bench.executions()
    assert [(row["status"], row["attempts"]) for row in found] == [("retry", 1), ("retry", 1)]


async def test_a_hook_that_never_ends_holds_no_slot(trial: Settings) -> None:
    """The deliveries are settled anyway, and the error of a dead one says that `on_dead` failed."""
    settings = trial.model_copy(update={"settle_timeout": 1.0})

    async def hang(_event: Event, _work: Work, _error: BaseException) -> None:
        await asyncio.sleep(3600)

    async def be_cancelled(_event: Event, _work: Work, _error: BaseException) -> None:
        raise asyncio.CancelledError

    async def slow(_event: Event, _work: Work) -> None:
        await asyncio.sleep(3600)

    handlers = [
        handles(
            SingleTrialRequested,
            name=f"{name}-{hook.__name__}",
            retry=ONCE,
            soft_time_limit="200ms",
            time_limit="500ms",
            on_dead=hook if name == "dead" else None,
            on_soft_limit=hook if name == "limit" else None,
        )(slow)
        for name in ("dead", "limit")
        for hook in (hang, be_cancelled)
    ]
    async with open_bench(settings, *handlers) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")), seconds=8 + CANCEL_GRACE)
        rows = await bench.executions()
    assert [row["status"] for row in rows] == ["failure"] * 4
    assert all(("on_dead failed" in row["error"]) == row["handler"].startswith("dead") for row in rows)


async def test_a_transaction_that_cannot_be_kept_is_the_handlers_failure(trial: Settings) -> None:
    """A swallowed database error, for which PostgreSQL answers COMMIT with a rollback; a rollback of the handler's own.

    Neither effect nor row would be there, or the effect without its row. After a commit of its own both are.
    """

    async def swallow(event: SingleTrialRequested, work: Work) -> None:
        await note(event, work, "swallow")
        with contextlib.suppress(DBAPIError):
            await work.session.execute(text("select 1/0"))

    async def commit(event: SingleTrialRequested, work: Work) -> None:
        await work.session.commit()
        await note(event, work, "commit")

    async def rollback(event: SingleTrialRequested, work: Work) -> None:
        await work.session.rollback()
        await note(event, work, "rollback")

    handlers = [handles(SingleTrialRequested, retry=LATER)(function) for function in (swallow, commit, rollback)]
    async with open_bench(trial, *handlers) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        assert statuses(await bench.executions()) == {"swallow": "retry", "commit": "success", "rollback": "retry"}
        assert await bench.query("select * from trials") == []


RESULTS: dict[str, tuple[JSON, str]] = {
    "nan": (float("nan"), "retry"),
    "set": ({1}, "retry"),  # type: ignore[dict-item]  # what a handler must not return
    "nul": ("a\x00b", "success"),
    "surrogate": ("\ud800", "success"),
    "large": ("x" * 9000, "success"),
}


async def test_a_result_is_json_of_8_kib_or_says_why_not(trial: Settings) -> None:
    """A result that is not JSON fails the delivery. NUL, surrogates and size do not; nothing undoes a final step."""

    def answer(*, final: bool, result: JSON) -> object:
        async def function(_event: LongTrialRequested, work: Work) -> JSON:
            if final:
                async with work.step(final=True):
                    pass
            return result

        return function

    handlers, expected = [], {}
    for what, (result, status) in RESULTS.items():
        for name in ("single", "long", "final"):
            kind: Literal["single", "long"] = "single" if name == "single" else "long"
            declare = handles(
                LongTrialRequested,
                name=f"{name}-{what}",
                kind=kind,
                retry=LATER,
                resource=lambda event, own=f"{name}-{what}": f"{event.entity}/{own}",  # type: ignore[misc]
            )
            handlers.append(declare(answer(final=name == "final", result=result)))  # type: ignore[arg-type]
            expected[f"{name}-{what}"] = "success" if name == "final" else status
    async with open_bench(trial, *handlers, pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 0, "the end")
        rows = await bench.executions()
    assert statuses(rows) == expected
    assert ["8192" in str(row["result"]) for row in rows if "large" in row["handler"]] == [True] * 3


async def test_any_delay_that_is_asked_for_can_be_settled(trial: Settings) -> None:
    """A provider may send any delay. It is limited, and the engine continues."""

    def ask(after: float) -> object:
        async def function(_event: Event, _work: Work) -> None:
            raise Retry("later", after=after)

        return function

    delays = {"inf": float("inf"), "vast": 1e18, "nan": float("nan"), "past": -5.0}
    handlers = [
        handles(SingleTrialRequested, name=name, retry=LATER)(ask(after))  # type: ignore[arg-type]
        for name, after in delays.items()
    ]
    async with open_bench(trial, *handlers) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        assert statuses(await bench.executions()) == dict.fromkeys(delays, "retry")


class UnprintableError(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_any_error_text_can_be_settled(trial: Settings) -> None:
    """PostgreSQL rejects NUL, and UTF-8 rejects lone surrogates: the text is changed, and the delivery is settled."""
    errors = {
        "nul": ValueError("a\x00b"),
        "surrogate": ValueError("\udc80"),
        "huge": ValueError("x" * 5_000_000),
        "unprintable": UnprintableError(),
    }

    async def fail_too(_event: Event, _work: Work, error: BaseException) -> None:
        raise error

    def fail(error: Exception) -> object:
        async def function(_event: Event, _work: Work) -> None:
            raise error

        return function

    handlers = [
        handles(SingleTrialRequested, name=f"{status}-{name}", retry=retry, on_dead=fail_too)(fail(error))  # type: ignore[arg-type]
        for name, error in errors.items()
        for status, retry in (("failure", ONCE), ("retry", LATER))
    ]
    async with open_bench(trial, *handlers) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        rows = await bench.executions()
    assert len(rows) == len(handlers)
    assert all(row["handler"].startswith(row["status"]) for row in rows)


# Faults of events


async def test_a_resource_that_no_lease_can_have_is_the_deliverys_failure(trial: Settings) -> None:
    """A NUL, a name too long for an index, a function that raises: only these deliveries fail."""

    def name(event: LongTrialRequested) -> str:
        names = {"nul": "a\x00b", "long": os.urandom(10_000).hex(), "good": "good"}
        return names[event.entity]

    handler = handles(LongTrialRequested, name="long", kind="long", retry=LATER, resource=name)(do_nothing)
    async with open_bench(trial, handler, pool="low") as bench:
        entities = ("nul", "long", "no such name", "good")
        await bench.settled(bench.feed(*(LongTrialRequested(entity=entity) for entity in entities)))
        await bench.until(lambda: bench.engine.running == 0, "the end")
        rows = await bench.query('select status from streams.executions order by "offset"')
    assert [row["status"] for row in rows] == ["retry", "retry", "retry", "success"]


async def test_any_time_of_an_event_comes_to_an_end(trial: Settings) -> None:
    """An event id with a time beyond the year 9999 is a dead letter. Any record timestamp is accepted."""
    async with open_bench(trial, handles(SingleTrialRequested, name="none")(do_nothing)) as bench:
        last = UUID(int=((1 << 48) - 1 << 80) | 0x7 << 76 | 0b10 << 62)
        far = SingleTrialRequested(event_id=last, entity="e")
        records = [bench.record(far, 0)]
        for offset, timestamp in enumerate((-1, 0, 10**18), 1):
            records.append(bench.record(SingleTrialRequested(entity="e"), offset, timestamp=timestamp))
        await bench.settled(bench.feed_records(records))
        assert [row["status"] for row in await bench.executions()] == ["success"] * 3
        assert await bench.query("select reason from streams.dead_letters") == [{"reason": "bad-event-id"}]


async def test_foreign_numbers_in_headers_end_no_worker(trial: Settings) -> None:
    """On an event topic they are ignored. In a tier the record is settled anyway."""
    foreign: dict[str, int] = {
        "origin_partition": 10**12,
        "origin_offset": 10**30,
        "origin_timestamp": 10**30,
        "seq": 10**12,
        "attempt": 10**12,
        "first_failed_at": 10**30,
        "due_at": -(10**30),
        "replays": 10**12,
    }

    async def fail(_event: SingleTrialRequested, _work: Work) -> None:
        raise Permanent("no")

    async with open_bench(trial, handles(SingleTrialRequested, name="fail")(fail)) as bench:
        for tier_delay in (None, 0.0):
            events = [(SingleTrialRequested(entity="e"), name) for name in foreign]
            records = [
                bench.record(event, offset, tier_headers(bench, event, "fail", **{name: foreign[name]}))
                for offset, (event, name) in enumerate(events)
            ]
            await bench.settled(bench.feed_records(records, tier_delay))
        letters = await bench.query("select partition from streams.dead_letters")
    assert [row["partition"] for row in letters] == [0] * 16


# Records and the fence


async def test_the_newest_of_two_records_of_a_delivery_decides(trial: Settings) -> None:
    """A stale duplicate (seq 1) and the live retry (seq 2) in one batch: the live one runs, nothing is lost."""

    async def batch(events: Sequence[BatchTrialRequested], work: Work) -> None:
        if events[0].entity == "slow":
            await asyncio.sleep(0.3)
        for event in events:
            await note(event, work, "batch")

    async with open_bench(trial, handles(BatchTrialRequested, name="batch", kind="batch")(batch), pool="high") as bench:
        slow, event = BatchTrialRequested(entity="slow"), BatchTrialRequested(entity="e")
        await bench.settled(bench.feed(event))
        await bench.query("update streams.executions set status = 'retry', seq = 2, attempts = 2")
        await bench.query("delete from trials")
        first = bench.record(slow, 0, tier_headers(bench, slow, "batch", seq=1))
        stale = bench.record(event, 1, tier_headers(bench, event, "batch", seq=1))
        live = bench.record(event, 2, tier_headers(bench, event, "batch", seq=2, attempt=2))
        await bench.settled(bench.feed_records([first, stale, live], 0.0))
        assert {(row["status"], row["seq"]) for row in await bench.executions()} == {("success", 2), ("success", 1)}
        assert len(await bench.query("select * from trials where entity = 'e'")) == 1


async def test_brokers_that_take_their_time_are_given_one_record(trial: Settings) -> None:
    """The acknowledgement of a dead letter arrives after several tries: there is one dead letter."""

    async def fail(_event: Event, _work: Work) -> None:
        raise Permanent("no")

    settings = trial.model_copy(update={"settle_timeout": 0.3})
    handler = handles(SingleTrialRequested, name="fail")(fail)
    async with open_bench(settings, handler, records=SlowRecords(settings, seconds=2.0)) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        topic = bench.context.catalogue.of(SingleTrialRequested).name
        dlq = bench.context.catalogue.dlq(topic)
    assert await asyncio.to_thread(end_offsets, trial, dlq) == 1


async def test_a_handler_without_a_ledger_leaves_no_retry_behind(trial: Settings) -> None:
    """The first failure inserts a row; the successful run ends it."""

    async def fail_once(_event: Event, work: Work) -> None:
        if work.attempt == 1:
            raise ValueError("once")

    handler = handles(SingleTrialRequested, name="free", retry=LATER, ledger=False)(fail_once)
    async with open_bench(trial, handler) as bench:
        event = SingleTrialRequested(entity="e")
        await bench.settled(bench.feed(event))
        assert [row["status"] for row in await bench.executions()] == ["retry"]
        await bench.settled(bench.feed_records([bench.record(event, 0, tier_headers(bench, event, "free"))], 0.0))
        assert [row["status"] for row in await bench.executions()] == ["success"]
        await bench.settled(bench.feed(SingleTrialRequested(entity="f")))


async def test_a_record_for_an_unknown_handler_waits_before_it_is_forwarded(trial: Settings) -> None:
    """It waits until it is due, instead of circulating through Kafka at full speed."""
    async with open_bench(trial, handles(SingleTrialRequested, name="known")(do_nothing)) as bench:
        event = SingleTrialRequested(entity="e")
        due = now_ms() + 1500
        waits = tier_headers(bench, event, "unknown", due_at=due, unknown_since=now_ms() - 1000)
        await bench.settled(bench.feed_records([bench.record(event, 0, waits)], 0.0))
        assert now_ms() >= due


async def test_an_unreadable_retry_keeps_its_handler(trial: Settings) -> None:
    """A retry older than the ledger's retention is a dead letter of its handler, and its row says so."""
    async with open_bench(trial, handles(SingleTrialRequested, name="known")(do_nothing)) as bench:
        beyond = datetime.now(tz=UTC) - timedelta(days=trial.ledger_retention_days + 1)
        old = new_event_id(round(beyond.timestamp() * 1000))
        event = SingleTrialRequested(event_id=old, entity="e")
        await bench.settled(bench.feed_records([bench.record(event, 0, tier_headers(bench, event, "known"))], 0.0))
        assert [row["handler"] for row in await bench.query("select handler from streams.dead_letters")] == ["known"]


# The database


async def test_a_loop_that_was_blocked_beyond_the_limit_is_the_handlers_failure(
    trial: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ended the transaction at its time-out. As an outage it would be rerun forever."""
    monkeypatch.setattr(transaction, "TRANSACTION_MARGIN", 0.2)

    async def block(_event: Event, _work: Work) -> None:
        time.sleep(1.2)  # noqa: ASYNC251 - what a handler must not do

    handler = handles(SingleTrialRequested, name="block", retry=ONCE, soft_time_limit="5s", time_limit="600ms")(block)
    async with open_bench(trial, handler) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")), seconds=8)
        assert [row["status"] for row in await bench.executions()] == ["failure"]


HELD_ROW = """
    insert into streams.executions
        (day, event_id, handler, task_id, topic, partition, "offset", pool, status, created_at)
    values ((now() at time zone 'utc')::date, :id, 'fail', :id, 't', 0, 0, 'default', 'retry', now())
"""


async def test_a_row_that_another_worker_holds_delays_a_settlement_and_no_more(
    trial: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen worker locks the row longer than `lock_timeout`; the engine waits until it is free."""
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT", 0.2)

    async def fail(_event: Event, _work: Work) -> None:
        raise ValueError("fails")

    async with open_bench(trial, handles(SingleTrialRequested, name="fail", retry=LATER, ledger=False)(fail)) as bench:
        event = SingleTrialRequested(entity="e")
        async with AsyncSession(bench.context.database.effects) as other:
            await other.execute(text(HELD_ROW), {"id": event.event_id})
            fed = bench.feed(event)
            with pytest.raises(AssertionError, match="waited"):
                await bench.settled(fed, seconds=1)
            await other.rollback()
        await bench.settled(fed)
        assert [row["status"] for row in await bench.executions()] == ["retry"]


async def test_a_backend_that_ends_under_a_savepoint_burns_no_attempt(trial: Settings) -> None:
    """As in a restart of the server, the unit runs again and no attempt is counted."""
    running = asyncio.Event()

    async def savepoint(event: SingleTrialRequested, work: Work) -> None:
        async with work.session.begin_nested():
            await note(event, work, "savepoint")
            if not running.is_set():
                running.set()
                await work.session.execute(text("select pg_sleep(30)"))

    async with open_bench(trial, handles(SingleTrialRequested, retry=LATER)(savepoint)) as bench:
        fed = bench.feed(SingleTrialRequested(entity="e"))
        await asyncio.wait_for(running.wait(), 5)
        await bench.query(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like '%effects'"
        )
        await bench.settled(fed)
        assert [(row["status"], row["attempts"]) for row in await bench.executions()] == [("success", 1)]


async def test_a_server_that_does_not_answer_is_an_outage() -> None:
    """A connection time-out has no SQLSTATE and its own exception class."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        url = SecretStr(f"postgresql://nobody@127.0.0.1:{port}/x")
        engine = sync_engine(Settings(database_url=url, database_connect_timeout=2.0))
        with pytest.raises(OperationalError) as raised:
            engine.connect()
    assert database_error_kind(raised.value) == "outage"


# Revocations and abandoned work


async def test_abandoned_attempts_keep_no_connection(trial: Settings) -> None:
    """One such handler per connection of the pool: the next event runs at once, and none can write late."""
    late: list[str] = []

    async def stubborn(event: SingleTrialRequested, work: Work) -> None:
        if event.plan == "succeed":
            return
        until = time.monotonic() + 4
        while time.monotonic() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
        try:
            await note(event, work, "late")
            await work.session.commit()
        except Exception as error:
            late.append(type(error).__name__)
            raise

    handler = handles(SingleTrialRequested, name="stubborn", retry=LATER, soft_time_limit="100ms", time_limit="200ms")(
        stubborn
    )
    async with open_bench(trial, handler, concurrency=2) as bench:
        bad = bench.feed(*(SingleTrialRequested(entity=f"e{n}", plan="swallow") for n in range(2)))
        await bench.settled(bad)
        await bench.settled(bench.feed(SingleTrialRequested(entity="good")), seconds=2)
        await bench.until(lambda: len(late) == 2, "the late writes")
        assert await bench.query("select * from trials") == []


async def test_a_batch_that_is_half_done_still_belongs_to_its_partition(trial: Settings) -> None:
    """The first half is acknowledged. The second runs during the revocation, which waits and then cancels it."""
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def batch(events: Sequence[BatchTrialRequested], _work: Work) -> None:
        if len(events) > 1:
            raise ValueError("too many")
        if events[0].entity == "slow":
            running.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    handler = handles(BatchTrialRequested, name="batch", kind="batch", soft_time_limit="1m", time_limit="2m")(batch)
    async with open_bench(trial, handler, pool="high") as bench:
        fed = bench.feed(BatchTrialRequested(entity="quick"), BatchTrialRequested(entity="slow"))
        await asyncio.wait_for(running.wait(), 5)
        fed.revoking = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.engine.on_revoking([fed]), 0.3)
        fed.revoked = True
        bench.engine.on_revoked([fed])
        await asyncio.wait_for(cancelled.wait(), 5)
        await bench.until(lambda: bench.engine.running == 0, "the unit's end")


async def test_waiting_deliveries_of_a_lost_partition_are_discarded(trial: Settings) -> None:
    """A lost partition cannot drain: waiting deliveries never start."""
    ran: list[str] = []

    async def slow(event: SingleTrialRequested, _work: Work) -> None:
        ran.append(event.plan)
        await asyncio.sleep(0.3)

    async with open_bench(trial, handles(SingleTrialRequested, name="slow")(slow)) as bench:
        fed = bench.feed(*(SingleTrialRequested(entity="same") for _ in range(3)))
        await bench.until(lambda: ran, "the first")
        fed.revoked = True
        bench.engine.on_revoked([fed])
        await bench.until(lambda: bench.engine.running == 0, "the end")
        assert (len(ran), bench.engine.waiting) == (1, 0)


async def test_a_compute_process_that_is_killed_costs_one_attempt(trial: Settings) -> None:
    """As the kernel does when memory is short. The next run has a new process."""

    async def compute(event: SingleTrialRequested, work: Work) -> None:
        await work.compute(spin if event.plan == "succeed" else die, 0.01)

    async with open_bench(trial, handles(SingleTrialRequested, name="compute", retry=LATER)(compute)) as bench:
        await bench.settled(bench.feed(SingleTrialRequested(entity="e", plan="kill")))
        await bench.settled(bench.feed(SingleTrialRequested(entity="e")))
        rows = await bench.executions()
    assert [row["status"] for row in rows] == ["retry", "success"]
    assert "exit code" in rows[0]["error"]


def die(_: float) -> None:
    """End this process as the kernel's out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_zombie_does_not_hold_up_the_workers_end(
    trial: Settings, engine: Engine, worker: Callable[..., WorkerProcess]
) -> None:
    """Abandoned at its hard limit, it swallows every cancellation. SIGTERM still ends the worker with code 0."""
    one = worker().start()
    publish(trial, [SingleTrialRequested(entity="e", plan="swallow", seconds=120, times=9)])
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions where status = 'retry'"), "the hard limit")
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 20


async def test_a_lost_race_reruns_a_long_handler_uncounted(trial: Settings) -> None:
    """Two deadlocks in a step: the third run succeeds, and counts as the first attempt."""
    runs: list[int] = []

    async def race(event: LongTrialRequested, work: Work) -> None:
        runs.append(work.attempt)
        async with work.step(final=True) as session:
            if len(runs) < 3:
                await session.execute(text("do $$ begin raise exception using errcode = '40P01'; end $$"))
            await note(event, work, "race")

    handler = handles(LongTrialRequested, name="race", kind="long", retry=LATER, resource=lambda event: event.entity)(
        race
    )
    async with open_bench(trial, handler, pool="low") as bench:
        await bench.settled(bench.feed(LongTrialRequested(entity="e")))
        await bench.until(lambda: bench.engine.running == 0, "the end")
        (row,) = await bench.executions()
    assert (row["status"], row["attempts"], runs) == ("success", 1, [1, 1, 1])
