"""The scheduler of one pool: runs ready units up to the pool's concurrency, and retries when they are due."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from schemas import Event
from schemas.sensitivity import marks_of
from streams import headers
from streams.delivery.admission.admission import EXPIRED, Admission
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.delivery import Delivery
from streams.delivery.errors import StrayCancellationError
from streams.delivery.handler import Handler, Kind
from streams.delivery.scheduling.cancellation import cancel_task
from streams.delivery.scheduling.delay_queue import DelayQueue
from streams.delivery.scheduling.lanes import Lanes, Unit
from streams.delivery.scheduling.runners import Runners
from streams.delivery.scheduling.start_order import late_additions, late_starts
from streams.delivery.telemetry import Telemetry
from streams.observability.logs import bind_delivery, get_logger
from streams.observability.redaction import Redactor
from streams.observability.tracing import bind_trace
from streams.transport.kafka.records import Assignment, Record

log = get_logger(__name__)
TIME_SLICE = 0.0005
"""Seconds after which a task that runs many units yields to the event loop, even if no unit had to wait."""


class Scheduler:
    """The window and the slots of one pool. Runs on the event loop."""

    def __init__(  # noqa: PLR0913 - one argument per dependency
        self,
        lanes: Lanes,
        admission: Admission,
        guard: CrashLoopGuard,
        *,
        runners: Runners,
        telemetry: Telemetry,
        concurrency: int,
        delays: tuple[float, ...],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Create a scheduler without deliveries.

        Args:
            lanes: Decides which ready delivery runs next.
            admission: Checked before each run.
            guard: Says when deliveries run in isolation.
            runners: Run and settle deliveries.
            telemetry: Gets the starts of deliveries, and what still runs when a drain meets its time limit.
            concurrency: Maximum number of concurrent units.
            delays: The delays of the retry tiers in seconds, ascending from 0.
            fail: Ends the process; called with the error of a unit's task.
        """
        self._lanes = lanes
        self._delayed = DelayQueue(delays, self._add_due, runners.hop, admission.resumption)
        self._admission = admission
        self._guard = guard
        self._runners = runners
        self._telemetry = telemetry
        self._concurrency = concurrency
        self._fail = fail
        self._units: dict[asyncio.Task[None], Unit] = {}
        self._cancelled: set[asyncio.Task[None]] = set()
        """Running tasks that the scheduler cancelled itself."""
        self._revocations = 0
        """Number of revocations in progress. They wait for tasks to end, so tasks then take no further unit."""
        self._closing = False
        self._probe_starts = False
        """Whether a unit was taken that becomes the probe of a dependency in its task's first step."""

    @property
    def running(self) -> int:
        """The number of running deliveries."""
        return sum(len(unit.deliveries) for unit in self._units.values())

    @property
    def waiting(self) -> int:
        """The number of deliveries that do not run yet."""
        return self._lanes.waiting + len(self._delayed)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that run units."""
        return list(self._units)

    def add(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Add ready deliveries of one partition; return those over their tenant's share, which are not added.

        Blocked deliveries beside others are deferred here, so they take no slot from them.
        """
        stay_queued = bool(deliveries) and self._admission.stays_queued(deliveries[0])
        if self._admission.any_blocked and not stay_queued:
            deliveries = self._defer_blocked(deliveries)
        if late := late_additions(deliveries):
            self._telemetry.out_of_order(deliveries[0], late)
        over_share = self._lanes.add_all(deliveries, stay_queued=stay_queued)
        self.start_ready()
        return over_share

    def add_retry(self, delivery: Delivery, tier_delay: float) -> None:
        """Add a delivery of a retry tier with this delay (seconds). It runs when it is due."""
        self._delayed.put(delivery, tier_delay)

    def release(self) -> None:
        """Check the blocked deliveries again."""
        self._lanes.release()
        self._delayed.release()
        self.start_ready()

    def start_ready(self) -> None:
        """Start units while slots are free."""
        while len(self._units) < self._concurrency and (unit := self._take()) is not None:
            task = asyncio.create_task(self._run(unit))
            self._units[task] = unit
            task.add_done_callback(self._ended)
        if self._probe_starts:
            asyncio.get_running_loop().call_soon(self._probe_started)

    def discard(self, assignments: set[Assignment]) -> None:
        """Discard the waiting deliveries of these assignments."""
        self._lanes.discard(lambda delivery: delivery.assignment in assignments)
        self._delayed.discard(assignments)

    def tasks_of(self, assignments: Collection[Assignment]) -> list[asyncio.Task[None]]:
        """Return the tasks that run units of these assignments. Claimed long deliveries belong to none."""
        return [task for task, unit in self._units.items() if _assignment(unit) in assignments]

    def running_kinds(self, tasks: Collection[asyncio.Task[None]]) -> list[Kind]:
        """Return the kinds of handlers that these tasks still run."""
        return [unit.handler.kind for task, unit in self._units.items() if task in tasks and not task.done()]

    @contextmanager
    def revoking(self) -> Iterator[None]:
        """Let each task end after its current unit, because a revocation waits for it."""
        self._revocations += 1
        try:
            yield
        finally:
            self._revocations -= 1
            self.start_ready()

    def cancel(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """Cancel these tasks."""
        self._cancelled.update(tasks)
        for task in tasks:
            cancel_task(task)

    async def drain(self, long_timeout: float) -> None:
        """Start no unit, wait for the running ones, and cancel long deliveries after `long_timeout` seconds."""
        self._closing = True
        self._delayed.close()
        units = dict(self._units)
        long_work = [task for task, unit in units.items() if unit.handler.kind == "long"]
        if long_work:
            await asyncio.wait(long_work, timeout=long_timeout)
            left = [task for task in long_work if not task.done()]
            self._telemetry.drain_exceeded(["long"] if left else [])
            self.cancel(left)
        if units:
            await asyncio.wait(units)

    def _add_due(self, delivery: Delivery) -> None:
        if not self._admission.any_blocked or self._defer_blocked([delivery]):
            delivery.due_since = time.perf_counter()
            self._lanes.add(delivery)
            self.start_ready()

    def _defer_blocked(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Defer the deliveries of blocked handlers; return the others. All deliveries are of one topic."""
        by_handler: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_handler.setdefault(delivery.handler.name, []).append(delivery)
        blocked = set()
        for name, same in by_handler.items():
            why = self._admission.blocked_handler(same[0].topic.name, same[0].handler)
            if why is not None:
                blocked.add(name)
                self._runners.defer(same, why)
        return [delivery for delivery in deliveries if delivery.handler.name not in blocked] if blocked else deliveries

    def _take(self) -> Unit | None:
        """Return the next unit to run. After a probe is taken there is none until it runs.

        Its breaker counts a probe from its start. Before that, each lane that waits for the dependency looks ready.
        """
        if self._closing or self._probe_starts or (unit := self._lanes.take()) is None:
            return None
        breakers = self._admission.breakers
        self._probe_starts = breakers.any_open and breakers.needs_probe(unit.handler)
        return unit

    def _probe_started(self) -> None:
        self._probe_starts = False
        self.start_ready()

    async def _run(self, unit: Unit) -> None:
        """Run a unit, then further ready units: a task per unit would cost as much as a small handler."""
        task = asyncio.current_task()
        slice_ends = time.monotonic() + TIME_SLICE
        while True:
            await self._run_unit(unit)
            if time.monotonic() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = time.monotonic() + TIME_SLICE
            if task is None or task.cancelling() or self._revocations or self._closing:
                return
            self._lanes.done(unit)
            del self._units[task]
            following = self._take()
            if following is None:
                return
            self._units[task] = unit = following
            self.start_ready()

    async def _run_unit(self, unit: Unit) -> None:
        first = unit.deliveries[0]
        if late := late_starts(unit):
            self._telemetry.out_of_order(first, late)
        # Each unit binds its own context in the task of the scheduler, so nothing must be reset.
        bind_delivery(first.log_fields, _redactor(unit))
        bind_trace(partial(_traceparent, first.record))
        if self._guard.is_isolating and unit.handler.kind != "long":
            for delivery in unit.deliveries:
                bind_delivery(delivery.log_fields, _redactor(unit))
                await self._guard.run_isolated(
                    delivery,
                    partial(self._run_contained, unit.handler, [delivery]),
                    partial(self._runners.killed, delivery),
                )
        else:
            await self._run_contained(unit.handler, unit.deliveries)
        self._runners.ended(unit.deliveries)

    async def _run_contained(self, handler: Handler[Event], deliveries: Sequence[Delivery]) -> None:
        """Run deliveries. Whatever is raised on their account is their dead letter, not the end of the process."""
        try:
            await self._run_admitted(handler, deliveries)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            log.exception("engine failed for a delivery")
            await self._runners.broken(deliveries, error)

    async def _run_admitted(self, handler: Handler[Event], deliveries: Sequence[Delivery]) -> None:
        """Run the deliveries that may start once the database answers, and settle the others."""
        admission, run = self._admission, self._runners.run[handler.kind]
        left: Sequence[Delivery] | None = deliveries
        started = False
        while left:
            if not admission.gate.is_open:
                await admission.gate.wait_until_open()
            if (blocked := admission.blocked(left)) is not None:
                if blocked.why == EXPIRED:
                    await self._runners.expired(blocked.deliveries)
                else:
                    self._runners.defer(blocked.deliveries, blocked.why)
                left = blocked.others
                continue
            if not started:
                started = True
                self._telemetry.started(left[0])
            if admission.breakers.needs(handler):
                with admission.track_run(handler):
                    left = await run(left)
            else:
                left = await run(left)

    def _ended(self, task: asyncio.Task[None]) -> None:
        unit = self._units.pop(task, None)
        if unit is not None:
            self._lanes.done(unit)
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
        elif unit is not None and not self._closing and task not in self._cancelled:
            self._fail(StrayCancellationError("a unit was cancelled by code other than its engine"))
        self._cancelled.discard(task)
        self.start_ready()


def _assignment(unit: Unit) -> Assignment | None:
    """Return the assignment of the first unacknowledged delivery: a halved batch is acknowledged in parts."""
    return next((delivery.assignment for delivery in unit.deliveries if delivery.pending is not None), None)


def _redactor(unit: Unit) -> Redactor | None:
    """Return what masks the marked values of the unit's events; None: no field is marked."""
    if marks_of(unit.handler.event) is None:
        return None
    return Redactor.of_events([delivery.event for delivery in unit.deliveries])


def _traceparent(record: Record) -> bytes | None:
    return record.last_header(headers.TRACEPARENT)
