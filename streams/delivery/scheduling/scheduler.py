"""Runs what waits in one pool: units in their turn, up to the pool's concurrency, and retries when they are due."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from schemas import Event
from schemas.sensitivity import marks_of
from streams import headers
from streams.delivery.admission.admission import Admission, Blocked
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.delivery import Delivery
from streams.delivery.errors import StrayCancellationError
from streams.delivery.handler import Handler, Kind
from streams.delivery.scheduling.delay_queue import DelayQueue
from streams.delivery.scheduling.lanes import Lanes, Unit
from streams.observability.logs import bind_delivery
from streams.observability.redaction import Redactor
from streams.observability.tracing import bind_trace
from streams.transport.kafka.records import Assignment, Record

TURN = 0.0005
"""Seconds after which a task that runs one unit after the other lets others have the loop, where no unit waits."""

Run = Callable[[Sequence[Delivery]], Awaitable[Sequence[Delivery] | None]]
"""Runs deliveries of a unit until they are settled.

It returns those that are not settled because the database went away. They are asked about again, and run again.
"""


@dataclass(frozen=True, slots=True)
class Runners:
    """What the scheduler calls with deliveries."""

    run: Mapping[Kind, Run]
    """By the kind of the handler."""
    blocked: Callable[[Blocked], Awaitable[None]]
    """Settles deliveries that must not begin."""
    killed: Callable[[Delivery], Awaitable[None]]
    """Settles a delivery that ended its process whenever it ran."""
    ended: Callable[[Sequence[Delivery]], None]
    """Called when a unit has ended."""
    hop: Callable[[Delivery, float], None]
    """Sends a retry that is not due to the tier of a delay (seconds)."""


class Scheduler:
    """The window of one pool, and its slots. Lives on the event loop."""

    def __init__(  # noqa: PLR0913 - what the engine puts together
        self,
        lanes: Lanes,
        admission: Admission,
        guard: CrashLoopGuard,
        *,
        runners: Runners,
        concurrency: int,
        delays: tuple[float, ...],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Make a scheduler that has nothing to run.

        Args:
            lanes: Decides which of the ready deliveries runs next.
            admission: Is asked before each run.
            guard: Says when deliveries run one at a time.
            runners: What runs and settles deliveries.
            concurrency: Units that run at once.
            delays: Those of the retry tiers, in seconds, ascending from 0.
            fail: Ends the process, with the error of a unit's task.
        """
        self._lanes = lanes
        self._waiting = DelayQueue(delays, self._due, runners.hop)
        self._admission = admission
        self._guard = guard
        self._runners = runners
        self._concurrency = concurrency
        self._fail = fail
        self._units: dict[asyncio.Task[None], Unit] = {}
        self._cancelled: set[asyncio.Task[None]] = set()
        """Tasks under way that were cancelled here."""
        self._giving_back = 0
        """Revocations under way: a task that ends its unit then takes no other, for its end is waited for."""
        self._closing = False

    @property
    def running(self) -> int:
        """Deliveries under way."""
        return sum(len(unit.deliveries) for unit in self._units.values())

    @property
    def waiting(self) -> int:
        """Deliveries that do not run yet."""
        return self._lanes.waiting + len(self._waiting)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that run units."""
        return list(self._units)

    def add(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Add deliveries of one partition that are ready; returns those past the share of their tenant, not added."""
        crowded = self._lanes.add_all(deliveries)
        self.start_ready()
        return crowded

    def add_retry(self, delivery: Delivery, tier_delay: float) -> None:
        """Add a delivery of a retry tier of that delay (seconds): it runs when it is due."""
        self._waiting.put(delivery, tier_delay)

    def release(self) -> None:
        """Ask again about what was held back."""
        self._lanes.release()
        self.start_ready()

    def start_ready(self) -> None:
        """Start units while slots are free."""
        while not self._closing and len(self._units) < self._concurrency:
            unit = self._lanes.take()
            if unit is None:
                break
            task = asyncio.create_task(self._run(unit))
            self._units[task] = unit
            task.add_done_callback(self._ended)

    def discard(self, assignments: set[Assignment]) -> None:
        """Forget what waits of these assignments."""
        self._lanes.discard(lambda delivery: delivery.assignment in assignments)
        self._waiting.discard(assignments)

    def tasks_of(self, assignments: Collection[Assignment]) -> list[asyncio.Task[None]]:
        """The tasks that run units of these assignments; long work that the ledger holds belongs to none."""
        return [task for task, unit in self._units.items() if _assignment(unit) in assignments]

    @contextmanager
    def giving_back(self) -> Iterator[None]:
        """Let each task end with its unit: somebody waits for that."""
        self._giving_back += 1
        try:
            yield
        finally:
            self._giving_back -= 1
            self.start_ready()

    def cancel(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """Cancel some of the tasks."""
        self._cancelled.update(tasks)
        for task in tasks:
            task.cancel()

    async def drain(self, long_timeout: float) -> None:
        """Start nothing new and let what runs end. Long work is cancelled after `long_timeout` seconds."""
        self._closing = True
        self._waiting.close()
        units = dict(self._units)
        long_work = [task for task, unit in units.items() if unit.handler.kind == "long"]
        if long_work:
            await asyncio.wait(long_work, timeout=long_timeout)
            self.cancel([task for task in long_work if not task.done()])
        if units:
            await asyncio.wait(units)

    def _due(self, delivery: Delivery) -> None:
        self._lanes.add(delivery)
        self.start_ready()

    async def _run(self, unit: Unit) -> None:
        """Run a unit, then others while they are ready: a task for each would cost as much as a small handler."""
        task = asyncio.current_task()
        turn_ends = time.monotonic() + TURN
        while True:
            await self._run_unit(unit)
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + TURN
            if task is None or task.cancelling() or self._giving_back or self._closing:
                return
            self._lanes.done(unit)
            del self._units[task]
            following = self._lanes.take()
            if following is None:
                return
            self._units[task] = unit = following
            self.start_ready()

    async def _run_unit(self, unit: Unit) -> None:
        first = unit.deliveries[0]
        # Each unit binds its own, and the task is nobody else's: nothing has to be taken back.
        bind_delivery(first.fields, _scrub(unit))
        bind_trace(partial(_traceparent, first.record))
        if self._guard.cautious and unit.handler.kind != "long":
            for delivery in unit.deliveries:
                bind_delivery(delivery.fields, _scrub(unit))
                await self._guard.run_alone(
                    delivery,
                    partial(self._run_admitted, unit.handler, [delivery]),
                    partial(self._runners.killed, delivery),
                )
        else:
            await self._run_admitted(unit.handler, unit.deliveries)
        self._runners.ended(unit.deliveries)

    async def _run_admitted(self, handler: Handler[Event], deliveries: Sequence[Delivery]) -> None:
        """Run those that may begin once the database answers, and settle the others."""
        admission, run = self._admission, self._runners.run[handler.kind]
        left: Sequence[Delivery] | None = deliveries
        while left:
            if not admission.gate.is_open:
                await admission.gate.passed()
            if (blocked := admission.blocked(left)) is not None:
                await self._runners.blocked(blocked)
                left = blocked.others
            elif handler.needs:
                with admission.probing(handler):
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
            self._fail(StrayCancellationError("a unit was cancelled, and not by its engine"))
        self._cancelled.discard(task)
        self.start_ready()


def _assignment(unit: Unit) -> Assignment | None:
    """That of the first delivery which is not acknowledged yet: a halved batch is so part by part."""
    return next((delivery.assignment for delivery in unit.deliveries if delivery.pending is not None), None)


def _scrub(unit: Unit) -> Redactor | None:
    """What masks the marked values of all that the unit works on."""
    if marks_of(unit.handler.event) is None:
        return None
    return Redactor.of_events([delivery.event for delivery in unit.deliveries])


def _traceparent(record: Record) -> bytes | None:
    return headers.last(record.headers, headers.TRACEPARENT)
