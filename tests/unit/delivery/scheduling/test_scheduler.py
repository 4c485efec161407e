"""What runs, when, and what becomes of the rest: the scheduler, with runners that a test holds in its hand."""

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import create_async_engine

from streams import headers
from streams.delivery.admission.admission import Admission, Blocked, BlockReason
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.pauses import Pauses
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.errors import StrayCancellationError, Unavailable
from streams.delivery.scheduling.lanes import Lanes
from streams.delivery.scheduling.scheduler import Runners, Scheduler
from streams.transport.kafka.records import Assignment
from tests.support.factories import a_delivery, a_handler

ENGINE = create_async_engine("postgresql+psycopg://nowhere.invalid/none")
"""Never connected to: nothing here asks the database."""
NEEDY = a_handler("index-document", needs=("embeddings",))
EXPIRED_AT = ((headers.CE_EXPIRYTIME, b"2020-01-01T00:00:00Z"),)
EXPIRES_LATER = ((headers.CE_EXPIRYTIME, b"2100-01-01T00:00:00Z"),)
LATER = 4_102_444_800_000
"""That time, ms since the epoch."""


class Trial:
    """A scheduler; its runner ends a delivery when `finish` is called, and notes what happens."""

    def __init__(self, *, concurrency: int = 2, delays: tuple[float, ...] = (0.0, 10.0)) -> None:
        self.begun: list[str] = []
        self.blocked: list[tuple[list[str], BlockReason]] = []
        self.hops: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self.failures: list[BaseException] = []
        self.left_over: list[list[Delivery]] = []
        """What the runner could not do since the database went away, run by run."""
        self.now = now_ms()
        """What the admission takes for the time."""
        self._running: dict[str, asyncio.Future[None]] = {}
        self.breakers = BreakerRegistry(["embeddings"])
        self.gate = DatabaseGate(ENGINE)
        self.pauses = Pauses(ENGINE)
        by_topic = {"document.deleted": (a_handler(), NEEDY)}
        admission = Admission(self.gate, self.pauses, self.breakers, by_topic, lambda: self.now)
        guard = CrashLoopGuard(ENGINE, self.gate, "unit", self.failures.append)
        self.lanes = Lanes(holds_back=admission.holds_back)
        self.scheduler = Scheduler(
            self.lanes,
            admission,
            guard,
            runners=Runners(
                run={"single": self._run, "batch": self._run, "long": self._run},
                blocked=self._note_blocked,
                killed=self._refuse,
                ended=lambda deliveries: self.ended.extend(names(deliveries)),
                hop=lambda delivery, delay: self.hops.append((name(delivery), delay)),
            ),
            concurrency=concurrency,
            delays=delays,
            fail=self.failures.append,
        )

    def add(self, *deliveries: Delivery) -> None:
        assert self.scheduler.add(deliveries) == []

    def finish(self, key: str, error: Exception | None = None) -> None:
        """End a run, or fail it with an error that no runner may raise."""
        future = self._running.pop(key)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    async def _run(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery] | None:
        self.begun.extend(names(deliveries))
        future = self._running[name(deliveries[0])] = asyncio.get_running_loop().create_future()
        await future
        return self.left_over.pop(0) if self.left_over else None

    async def _note_blocked(self, blocked: Blocked) -> None:
        self.blocked.append((names(blocked.deliveries), blocked.reason))

    async def _refuse(self, delivery: Delivery) -> None:
        raise AssertionError(delivery)


def name(delivery: Delivery) -> str:
    return delivery.key.decode()


def names(deliveries: Sequence[Delivery]) -> list[str]:
    return [name(delivery) for delivery in deliveries]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is asked for has no event of its own
            await asyncio.sleep(0)


async def test_as_many_units_run_as_there_are_slots_and_the_next_takes_the_place_of_one_that_ends() -> None:
    trial = Trial(concurrency=2)
    trial.add(*(a_delivery(f"d{number}", offset=number) for number in range(4)))
    await until(lambda: len(trial.begun) == 2)
    assert (trial.scheduler.running, trial.scheduler.waiting) == (2, 2)
    trial.finish("d1")
    await until(lambda: trial.begun == ["d0", "d1", "d2"])
    assert trial.ended == ["d1"]
    for key in ("d0", "d2"):
        trial.finish(key)
    await until(lambda: trial.begun[-1] == "d3")
    trial.finish("d3")
    await until(lambda: not trial.scheduler.tasks)
    assert (trial.scheduler.running, trial.scheduler.waiting) == (0, 0)
    assert trial.failures == []


async def test_what_is_paused_or_has_expired_never_begins() -> None:
    """A pause puts off, an expiry ends; on a topic with another handler nothing is held back."""
    trial = Trial(concurrency=4)
    trial.pauses._paused = frozenset({("handler", "clean-document")})
    paused = a_delivery("paused", offset=0)
    late = a_delivery("late", offset=1, handler=a_handler("index-document"), headers=EXPIRED_AT)
    trial.add(paused, late, a_delivery("runs", offset=2, handler=a_handler("index-document")))
    await until(lambda: trial.begun == ["runs"] and len(trial.blocked) == 2)
    assert trial.blocked == [(["paused"], BlockReason("paused", 15.0)), (["late"], BlockReason("expired", None))]
    trial.finish("runs")


async def test_of_a_batch_only_those_that_have_expired_do_not_begin() -> None:
    trial, batch = Trial(), a_handler(kind="batch")
    trial.add(
        *(
            a_delivery(f"d{number}", offset=number, handler=batch, headers=EXPIRED_AT if number == 1 else ())
            for number in range(3)
        )
    )
    await until(lambda: trial.begun == ["d0", "d2"])
    assert trial.blocked == [(["d1"], BlockReason("expired", None))]
    trial.finish("d0")
    await until(lambda: trial.ended == ["d0", "d1", "d2"])


async def test_where_every_handler_of_a_topic_is_paused_its_deliveries_stay_until_the_pause_ends() -> None:
    trial = Trial()
    trial.pauses._paused = frozenset({("topic", "document.deleted")})
    trial.add(a_delivery("d0"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert (trial.begun, trial.blocked, trial.scheduler.waiting) == ([], [], 1)
    trial.pauses._paused = frozenset()
    trial.scheduler.release()
    await until(lambda: trial.begun == ["d0"])
    trial.finish("d0")


async def test_while_a_dependency_is_away_one_delivery_probes_and_the_others_are_put_off() -> None:
    trial = Trial(concurrency=1)
    for _ in range(3):
        trial.breakers.failed(Unavailable("embeddings", "refused"))
    (breaker,) = (one for one in trial.breakers.all if one.dependency == "embeddings")
    trial.add(a_delivery("waits", handler=NEEDY))
    await until(lambda: len(trial.blocked) == 1)
    assert trial.blocked[0][1].why == "embeddings does not answer"
    breaker.retry_at = 0.0
    trial.add(a_delivery("probe", offset=1, handler=NEEDY))
    await until(lambda: trial.begun == ["probe"])
    assert breaker.state == "probing"
    trial.finish("probe")
    await until(lambda: trial.ended == ["waits", "probe"])
    assert str(breaker.state) == "open", "a probe that said nothing leaves it to another"
    trial.breakers.close()


async def test_what_the_database_left_over_is_asked_about_and_run_again() -> None:
    """What has expired while the database was away never begins again."""
    trial, batch = Trial(), a_handler(kind="batch")
    kept = a_delivery("kept", offset=0, handler=batch)
    late = a_delivery("late", offset=1, handler=batch, headers=EXPIRES_LATER)
    trial.left_over.append([kept, late])
    trial.add(kept, late)
    await until(lambda: trial.begun == ["kept", "late"])
    trial.gate._open.clear()
    trial.finish("kept")
    for _ in range(3):
        await asyncio.sleep(0)
    assert trial.begun == ["kept", "late"], "while the database is away nothing begins"
    trial.now = LATER
    trial.gate._open.set()
    await until(lambda: trial.begun == ["kept", "late", "kept"])
    assert trial.blocked == [(["late"], BlockReason("expired", None))]
    trial.finish("kept")
    await until(lambda: trial.ended == ["kept", "late"])


async def test_a_retry_runs_when_it_is_due_and_hops_where_a_longer_tier_fits() -> None:
    trial = Trial()
    now = now_ms()
    due = ((headers.DUE_AT, str(now).encode()),)
    later = ((headers.DUE_AT, str(now + 60_000).encode()),)
    trial.scheduler.add_retry(a_delivery("due", timestamp=now, headers=due), 0.0)
    trial.scheduler.add_retry(a_delivery("later", offset=1, timestamp=now, headers=later), 0.0)
    await until(lambda: trial.begun == ["due"])
    assert trial.hops == [("later", 10.0)]
    trial.finish("due")


async def test_a_revocation_forgets_what_waits_and_knows_what_runs() -> None:
    trial = Trial(concurrency=1)
    leaving, staying = Assignment("document.deleted", 0), Assignment("document.deleted", 1)
    trial.add(a_delivery("d0", assignment=leaving), a_delivery("d1", offset=1, assignment=leaving))
    trial.add(a_delivery("other", partition=1, assignment=staying))
    await until(lambda: trial.begun == ["d0"])
    trial.scheduler.discard({leaving})
    (task,) = trial.scheduler.tasks_of({leaving})
    assert trial.scheduler.tasks_of({staying}) == []
    with trial.scheduler.giving_back():
        trial.finish("d0")
        await asyncio.wait([task])
    await until(lambda: trial.begun == ["d0", "other"])
    trial.scheduler.cancel(trial.scheduler.tasks)
    await until(lambda: not trial.scheduler.tasks)
    assert trial.failures == []


async def test_a_drain_waits_for_short_work_and_cancels_long_work() -> None:
    trial, long = Trial(concurrency=2), a_handler("index-document", kind="long")
    trial.add(a_delivery("short"), a_delivery("long", offset=1, handler=long), a_delivery("never", offset=2))
    await until(lambda: len(trial.begun) == 2)
    draining = asyncio.create_task(trial.scheduler.drain(0.01))
    await until(lambda: len(trial.scheduler.tasks) == 1)
    assert not draining.done()
    trial.finish("short")
    await draining
    assert (trial.begun, trial.ended, trial.failures) == (["short", "long"], ["short"], [])


async def test_a_failure_of_a_unit_s_own_task_and_a_stray_cancellation_end_the_process() -> None:
    trial = Trial(concurrency=1)
    error = RuntimeError("a mistake")
    trial.add(a_delivery("d0"))
    await until(lambda: trial.begun == ["d0"])
    trial.finish("d0", error)
    await until(lambda: trial.failures)
    trial.add(a_delivery("d1"))
    await until(lambda: trial.begun == ["d0", "d1"])
    (task,) = trial.scheduler.tasks
    task.cancel()
    await until(lambda: len(trial.failures) == 2)
    assert trial.failures[0] is error
    assert isinstance(trial.failures[1], StrayCancellationError)
