"""The scheduler: what runs and when, with runners that the tests control."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from schemas import Event
from streams import headers
from streams.delivery.admission.admission import Admission
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.pauses import Pauses
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.errors import StrayCancellationError, Unavailable
from streams.delivery.handler import Handler
from streams.delivery.scheduling.lanes import Lanes
from streams.delivery.scheduling.runners import Runners
from streams.delivery.scheduling.scheduler import Scheduler
from streams.delivery.telemetry import Telemetry
from streams.transport.kafka.records import Assignment
from tests.support.factories import CATALOGUE, a_delivery, a_handler

ENGINE = create_async_engine("postgresql+psycopg://nowhere.invalid/none")
"""Never connected: these tests do not use the database."""
NEEDY = a_handler("index-document", needs=("embeddings",))
EXPIRED_AT = ((headers.CE_EXPIRYTIME, b"2020-01-01T00:00:00Z"),)
EXPIRES_LATER = ((headers.CE_EXPIRYTIME, b"2100-01-01T00:00:00Z"),)
LATER = 4_102_444_800_000
"""That time, ms since the epoch."""


class Trial:
    """A scheduler with a runner that ends a delivery when `finish` is called, and records the calls."""

    def __init__(
        self, *, concurrency: int = 2, delays: tuple[float, ...] = (0.0, 10.0), tenant_share: int | None = None
    ) -> None:
        self.started: list[str] = []
        self.deferred: list[tuple[list[str], str]] = []
        self.expired: list[list[str]] = []
        self.hops: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self.failures: list[BaseException] = []
        self.broken: list[tuple[list[str], BaseException]] = []
        """Deliveries for which a runner raised, and what it raised."""
        self.left_over: list[list[Delivery]] = []
        """Per run: the deliveries that the runner returns because the database failed."""
        self.now = now_ms()
        """The time of the admission, ms since the epoch."""
        self._running: dict[str, asyncio.Future[None]] = {}
        self.breakers = BreakerRegistry(["embeddings"])
        self.gate = DatabaseGate(ENGINE)
        self.pauses = Pauses(ENGINE)
        self.by_topic: dict[str, tuple[Handler[Event], ...]] = {"document.deleted": (a_handler(), NEEDY)}
        admission = Admission(self.gate, self.pauses, self.breakers, self.by_topic, lambda: self.now)
        guard = CrashLoopGuard(ENGINE, self.gate, "unit", self.failures.append)
        self.lanes = Lanes(tenant_share=tenant_share, stays_queued=admission.stays_queued)
        self.scheduler = Scheduler(
            self.lanes,
            admission,
            guard,
            runners=Runners(
                run={"single": self._run, "batch": self._run, "long": self._run},
                expired=self._record_expired,
                defer=lambda deliveries, why: self.deferred.append((names(deliveries), why)),
                killed=self._fail,
                broken=self._record_broken,
                ended=lambda deliveries: self.ended.extend(names(deliveries)),
                hop=lambda delivery, delay: self.hops.append((name(delivery), delay)),
            ),
            telemetry=Telemetry("unit", CATALOGUE, ()),
            concurrency=concurrency,
            delays=delays,
            fail=self.failures.append,
        )

    def add(self, *deliveries: Delivery) -> None:
        assert self.scheduler.add(deliveries) == []

    def finish(self, key: str, error: Exception | None = None) -> None:
        """End a run, or fail it with an error that a runner must never raise."""
        future = self._running.pop(key)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    async def _run(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery] | None:
        self.started.extend(names(deliveries))
        future = self._running[name(deliveries[0])] = asyncio.get_running_loop().create_future()
        await future
        return self.left_over.pop(0) if self.left_over else None

    async def _record_expired(self, deliveries: Sequence[Delivery]) -> None:
        self.expired.append(names(deliveries))

    async def _fail(self, delivery: Delivery, deaths: int) -> None:
        raise AssertionError(delivery, deaths)

    async def _record_broken(self, deliveries: Sequence[Delivery], error: BaseException) -> None:
        self.broken.append((names(deliveries), error))


def name(delivery: Delivery) -> str:
    return delivery.key.decode()


def names(deliveries: Sequence[Delivery]) -> list[str]:
    return [name(delivery) for delivery in deliveries]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is asked for has no event of its own
            await asyncio.sleep(0)


async def test_concurrency_is_limited_and_the_next_unit_starts_when_one_ends() -> None:
    trial = Trial(concurrency=2)
    trial.add(*(a_delivery(f"d{number}", offset=number) for number in range(4)))
    await until(lambda: len(trial.started) == 2)
    assert (trial.scheduler.running, trial.scheduler.waiting) == (2, 2)
    trial.finish("d1")
    await until(lambda: trial.started == ["d0", "d1", "d2"])
    assert trial.ended == ["d1"]
    for key in ("d0", "d2"):
        trial.finish(key)
    await until(lambda: trial.started[-1] == "d3")
    trial.finish("d3")
    await until(lambda: not trial.scheduler.tasks)
    assert (trial.scheduler.running, trial.scheduler.waiting) == (0, 0)
    assert trial.failures == []


async def test_paused_and_expired_deliveries_never_start() -> None:
    """A pause defers, an expiry ends. A topic with another handler keeps nothing queued."""
    trial = Trial(concurrency=4)
    trial.pauses._paused = frozenset({("handler", "clean-document")})
    paused = a_delivery("paused", offset=0)
    late = a_delivery("late", offset=1, handler=a_handler("index-document"), headers=EXPIRED_AT)
    trial.add(paused, late, a_delivery("runs", offset=2, handler=a_handler("index-document")))
    await until(lambda: trial.started == ["runs"] and trial.expired)
    assert (trial.deferred, trial.expired) == ([(["paused"], "paused")], [["late"]])
    trial.finish("runs")


@pytest.mark.requirement(
    "Faults of others", "R8: blocked deliveries beside another handler take no slot, at any backlog"
)
async def test_blocked_deliveries_are_deferred_while_every_slot_is_busy() -> None:
    """They come from an event topic and from a tier. The other handler keeps the only slot and its place."""
    trial, other = Trial(concurrency=1), a_handler("index-document")
    trial.add(a_delivery("runs", handler=other))
    await until(lambda: trial.started == ["runs"])
    trial.pauses._paused = frozenset({("handler", "clean-document")})
    trial.add(
        *(a_delivery(f"blocked{number}", offset=number) for number in range(50)), a_delivery("next", handler=other)
    )
    trial.scheduler.add_retry(a_delivery("retry", topic="streams.low.retry.0s"), 0.0)
    assert [len(deferred) for deferred, _ in trial.deferred] == [50, 1]
    assert (len(trial.scheduler.tasks), trial.scheduler.waiting) == (1, 1)
    trial.finish("runs")
    await until(lambda: trial.started == ["runs", "next"])
    trial.finish("next")


@pytest.mark.requirement("Faults of others", "R8: deferred deliveries run at once when their pause is over")
async def test_deferred_deliveries_run_before_their_time_when_nothing_blocks_them() -> None:
    """After a pause all run. While a dependency is only probed, one of them runs as the probe."""
    trial = Trial(concurrency=4)
    later = ((headers.DUE_AT, str(now_ms() + 600_000).encode()), (headers.DEFERRALS, b"1"))
    trial.pauses._paused = frozenset({("handler", "index-document")})
    for number in range(3):
        trial.scheduler.add_retry(a_delivery(f"d{number}", offset=number, handler=NEEDY, headers=later), 0.0)
    trial.scheduler.release()
    assert (trial.started, trial.scheduler.waiting, trial.hops) == ([], 3, [])
    for _ in range(3):
        trial.breakers.failed(Unavailable("embeddings", "refused"))
    trial.pauses._paused = frozenset()
    trial.scheduler.release()
    assert trial.scheduler.waiting == 3
    (breaker,) = (one for one in trial.breakers.all if one.dependency == "embeddings")
    breaker.retry_at = 0.0
    trial.scheduler.release()
    await until(lambda: trial.started == ["d0"])
    assert trial.scheduler.waiting == 2
    trial.breakers.succeeded(NEEDY)
    trial.scheduler.release()
    await until(lambda: trial.started == ["d0", "d1", "d2"])
    for key in ("d0", "d1", "d2"):
        trial.finish(key)
    trial.breakers.close()


async def test_only_the_expired_deliveries_of_a_batch_do_not_start() -> None:
    trial, batch = Trial(), a_handler(kind="batch")
    trial.add(
        *(
            a_delivery(f"d{number}", offset=number, handler=batch, headers=EXPIRED_AT if number == 1 else ())
            for number in range(3)
        )
    )
    await until(lambda: trial.started == ["d0", "d2"])
    assert trial.expired == [["d1"]]
    trial.finish("d0")
    await until(lambda: trial.ended == ["d0", "d1", "d2"])


async def test_if_every_handler_of_a_topic_is_paused_its_deliveries_stay_queued() -> None:
    trial = Trial()
    trial.pauses._paused = frozenset({("topic", "document.deleted")})
    trial.add(a_delivery("d0"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert (trial.started, trial.deferred, trial.scheduler.waiting) == ([], [], 1)
    trial.pauses._paused = frozenset()
    trial.scheduler.release()
    await until(lambda: trial.started == ["d0"])
    trial.finish("d0")


@pytest.mark.requirement(
    "Faults and operations", "deliveries of a topic that is blocked as a whole wait, whatever their tenant or key"
)
async def test_deliveries_that_stay_queued_have_no_share() -> None:
    """Over their tenant's share, others move to a retry tier. These wait, so their partition is full and pauses."""
    trial = Trial(tenant_share=2)
    trial.pauses._paused = frozenset({("topic", "document.deleted")})
    trial.add(*(a_delivery(f"d{number}", offset=number) for number in range(10)))
    assert (trial.deferred, trial.scheduler.waiting) == ([], 10)
    trial.pauses._paused = frozenset()
    trial.scheduler.release()
    more = [a_delivery(f"e{number}", offset=10 + number) for number in range(4)]
    assert trial.scheduler.add(more) == more, "the tenant has more than its share"
    await until(lambda: trial.started == ["d0", "d1"])
    for number in range(10):
        await until(lambda number=number: f"d{number}" in trial.started)  # type: ignore[misc]  # bound now
        trial.finish(f"d{number}")


@pytest.mark.requirement(
    "Faults and operations", "deliveries of a topic that is blocked as a whole wait, whatever their tenant or key"
)
@pytest.mark.parametrize("fills", ["a timer", "a chunk", "a slot"])
async def test_one_delivery_of_many_keys_is_the_probe_and_the_others_wait(fills: str) -> None:
    """Nothing of the topic is deferred when a probe is due, whoever fills the slots then."""
    trial = Trial(concurrency=8)
    trial.by_topic["document.deleted"] = (NEEDY,)
    if fills == "a slot":
        trial.add(a_delivery("before", offset=0, handler=NEEDY))
        await until(lambda: trial.started == ["before"])
    for _ in range(3):
        trial.breakers.failed(Unavailable("embeddings", "refused"))
    (breaker,) = (one for one in trial.breakers.all if one.dependency == "embeddings")
    trial.add(*(a_delivery(f"k{number}", offset=1 + number, handler=NEEDY) for number in range(40)))
    breaker.retry_at = 0.0
    if fills == "a slot":
        trial.scheduler._lanes.release()
        trial.finish("before")
        await until(lambda: trial.ended == ["before"])
    elif fills == "a chunk":
        trial.scheduler._lanes.release()
        trial.add(a_delivery("more", offset=50, handler=NEEDY))
    else:
        trial.scheduler.release()
    trial.scheduler.start_ready()
    for _ in range(20):
        await asyncio.sleep(0)
    assert trial.started[-1] == "k0"
    assert trial.deferred == []
    assert len(trial.scheduler.tasks) == 1
    trial.breakers.succeeded(NEEDY)
    trial.scheduler.release()
    await until(lambda: len(trial.scheduler.tasks) == 8)
    trial.breakers.close()
    trial.scheduler._closing = True
    tasks = trial.scheduler.tasks
    trial.scheduler.cancel(tasks)
    await asyncio.wait(tasks)


async def test_while_a_dependency_is_unavailable_one_delivery_probes_and_the_others_are_deferred() -> None:
    trial = Trial(concurrency=1)
    for _ in range(3):
        trial.breakers.failed(Unavailable("embeddings", "refused"))
    (breaker,) = (one for one in trial.breakers.all if one.dependency == "embeddings")
    trial.add(a_delivery("waits", handler=NEEDY))
    assert trial.deferred == [(["waits"], "embeddings does not answer")]
    breaker.retry_at = 0.0
    trial.add(a_delivery("probe", offset=1, handler=NEEDY))
    await until(lambda: trial.started == ["probe"])
    assert breaker.state == "probing"
    trial.finish("probe")
    await until(lambda: trial.ended == ["probe"])
    assert str(breaker.state) == "open", "a probe without a result leaves the probe to another delivery"
    trial.breakers.close()


async def test_deliveries_left_by_a_database_outage_are_checked_and_run_again() -> None:
    """A delivery that expired during the outage does not start again."""
    trial, batch = Trial(), a_handler(kind="batch")
    kept = a_delivery("kept", offset=0, handler=batch)
    late = a_delivery("late", offset=1, handler=batch, headers=EXPIRES_LATER)
    trial.left_over.append([kept, late])
    trial.add(kept, late)
    await until(lambda: trial.started == ["kept", "late"])
    trial.gate._open.clear()
    trial.finish("kept")
    for _ in range(3):
        await asyncio.sleep(0)
    assert trial.started == ["kept", "late"], "nothing starts during a database outage"
    trial.now = LATER
    trial.gate._open.set()
    await until(lambda: trial.started == ["kept", "late", "kept"])
    assert trial.expired == [["late"]]
    trial.finish("kept")
    await until(lambda: trial.ended == ["kept", "late"])


async def test_a_retry_runs_when_it_is_due_and_hops_if_a_longer_tier_fits() -> None:
    trial = Trial()
    now = now_ms()
    due = ((headers.DUE_AT, str(now).encode()),)
    later = ((headers.DUE_AT, str(now + 60_000).encode()),)
    trial.scheduler.add_retry(a_delivery("due", timestamp=now, headers=due), 0.0)
    trial.scheduler.add_retry(a_delivery("later", offset=1, timestamp=now, headers=later), 0.0)
    await until(lambda: trial.started == ["due"])
    assert trial.hops == [("later", 10.0)]
    trial.finish("due")


async def test_a_revocation_discards_waiting_deliveries_and_finds_running_ones() -> None:
    trial = Trial(concurrency=1)
    leaving, staying = Assignment("document.deleted", 0), Assignment("document.deleted", 1)
    trial.add(a_delivery("d0", assignment=leaving), a_delivery("d1", offset=1, assignment=leaving))
    trial.add(a_delivery("other", partition=1, assignment=staying))
    await until(lambda: trial.started == ["d0"])
    trial.scheduler.discard({leaving})
    (task,) = trial.scheduler.tasks_of({leaving})
    assert trial.scheduler.tasks_of({staying}) == []
    with trial.scheduler.revoking():
        trial.finish("d0")
        await asyncio.wait([task])
    await until(lambda: trial.started == ["d0", "other"])
    trial.scheduler.cancel(trial.scheduler.tasks)
    await until(lambda: not trial.scheduler.tasks)
    assert trial.failures == []


async def test_a_drain_waits_for_short_deliveries_and_cancels_long_ones() -> None:
    trial, long = Trial(concurrency=2), a_handler("index-document", kind="long")
    trial.add(a_delivery("short"), a_delivery("long", offset=1, handler=long), a_delivery("never", offset=2))
    await until(lambda: len(trial.started) == 2)
    draining = asyncio.create_task(trial.scheduler.drain(0.01))
    await until(lambda: len(trial.scheduler.tasks) == 1)
    assert not draining.done()
    trial.finish("short")
    await draining
    assert (trial.started, trial.ended, trial.failures) == (["short", "long"], ["short"], [])


@pytest.mark.requirement("Faults of others", "R1: what the engine raises for one record is that record's dead letter")
async def test_an_error_of_a_runner_breaks_its_deliveries_and_a_stray_cancellation_ends_the_process() -> None:
    trial = Trial(concurrency=1)
    error = RuntimeError("a mistake")
    trial.add(a_delivery("d0"))
    await until(lambda: trial.started == ["d0"])
    trial.finish("d0", error)
    await until(lambda: trial.broken == [(["d0"], error)])
    trial.add(a_delivery("d1"))
    await until(lambda: trial.started == ["d0", "d1"])
    assert trial.failures == []
    (task,) = trial.scheduler.tasks
    task.cancel()
    await until(lambda: trial.failures)
    assert isinstance(trial.failures[0], StrayCancellationError)
