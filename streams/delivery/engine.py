"""One pool's delivery: chunks in, units run up to the pool's concurrency, offsets acknowledged as they settle."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import NamedTuple

from schemas import Event
from schemas.sensitivity import marks_of
from streams import headers
from streams.delivery.admission.pauses import DEFERRAL
from streams.delivery.context import PoolContext
from streams.delivery.delivery import Delivery
from streams.delivery.execution.attempt import AttemptContext, Availability
from streams.delivery.handler import Handler
from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.delivery.intake.intake import Intake
from streams.delivery.runners.lease_sweep import LeaseSweep
from streams.delivery.runners.leased import LeasedRunner
from streams.delivery.runners.transactional import TransactionalRunner
from streams.delivery.scheduling.lanes import Lanes, Unit
from streams.delivery.scheduling.retry_tiers import RetryTiers
from streams.delivery.settlement.dead_letter import DeadLetters
from streams.delivery.settlement.forwarding import Forwarding
from streams.delivery.settlement.pending_send import Sender
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settlement import Destinations, Settlement
from streams.delivery.telemetry import Telemetry
from streams.observability.logs import bind_delivery, get_logger
from streams.observability.redaction import Redactor
from streams.observability.tracing import bind_trace
from streams.transport.kafka.records import Assignment, Chunk, Record

log = get_logger(__name__)
TENANT_SHARE = 8
"""A tenant may have one part in so many of a partition's window waiting; what is more goes aside.

Well below the half at which a partition that was full is read on: a few tenants that flood must not keep it paused.
"""
LONG_DRAIN_SHARE = 0.3
"""Part of the drain's time after which long work is cancelled and its lease given back."""
TURN = 0.0005
"""Seconds after which a task that runs one unit after the other lets others have the loop, where no unit waits."""


class StrayCancellationError(Exception):
    """Work that was given up by nobody who answers for it: only a new start does what it had not settled."""


class BlockReason(NamedTuple):
    """Why work does not begin, and after how many seconds to look again."""

    why: str
    seconds: float


class PoolEngine:
    """Lives on the event loop; every method is called there."""

    def __init__(self, context: PoolContext) -> None:
        self.context = context
        attempts = AttemptContext(
            context.database, context.place, context.codec, context.schemas, context.services, context.compute
        )
        availability, telemetry = Availability(context.gate, context.breakers), Telemetry(context.group)
        sender = Sender(context.records, context.settings.settle_timeout)
        destinations = Destinations(
            RetryTiers.of(context.catalogue, context.pool.name),
            DeadLetters(context.codec, context.catalogue, context.group),
        )
        waiting = SettleLoop(availability, context.settling)
        forwarding = Forwarding(context.database.bookkeeping, sender, destinations, telemetry, waiting)
        loop = SettleLoop(availability, context.settling, self._settle_beside)
        self._settlement = settlement = Settlement(attempts, sender, destinations, telemetry, loop)
        self._effects = TransactionalRunner(attempts, settlement, telemetry, availability)
        lease_seconds = context.settings.lease_seconds
        self._custody = LeasedRunner(attempts, settlement, telemetry, availability, lease_seconds)
        lost = Settlement(attempts, sender, destinations, telemetry, waiting)
        self.sweep = LeaseSweep(attempts, context.catalogue, context.handlers, lost)
        """Hands on long deliveries whose worker went away."""
        self._lanes = Lanes(
            context.limits,
            share=context.pool.prefetch // TENANT_SHARE,
            aside=[context.catalogue.tier(context.pool.name, 0.0)],
            holds_back=self._holds_back,
        )
        context.breakers.on_change(self._go_on)
        context.pauses.on_change(self._go_on)
        self._beside = BackgroundTasks(self._watch)
        self._reception = Intake(context, self._lanes, self._beside, forwarding, pump=self._pump, leaving=self._leaving)
        self._waiting, self._desk = self._reception.waiting, self._reception.desk
        self._running: dict[asyncio.Task[None], Unit] = {}
        self._cancelled: set[asyncio.Task[None]] = set()
        """Tasks under way that this engine has cancelled."""
        self._giving_back = 0
        """Revocations under way: a task that ends its unit then takes no other, for its end is waited for."""
        self._closing = False

    @property
    def running(self) -> int:
        """Deliveries under way."""
        return sum(len(unit.deliveries) for unit in self._running.values())

    @property
    def received(self) -> int:
        """Deliveries in this worker's window that do not run yet."""
        return self._lanes.waiting + len(self._waiting)

    def accept(self, chunk: Chunk) -> None:
        """Take over a chunk of an event topic; that of a partition which is leaving is its next owner's."""
        self._reception.accept(chunk)

    def accept_tier(self, chunk: Chunk, delay: float) -> None:
        """Take over a chunk of a retry tier of that delay (seconds); as `accept`."""
        self._reception.accept_tier(chunk, delay)

    async def revoking(self, assignments: Iterable[Assignment]) -> None:
        """Stop handing over what those partitions still have waiting; return when what runs of them has ended."""
        leaving = set(assignments)
        self._forget(leaving)
        self._giving_back += 1
        try:
            await self._ended(task for task, assignment in self._holders() if assignment in leaving)
        finally:
            self._giving_back -= 1
            self._pump()

    def revoked(self, assignments: Iterable[Assignment]) -> None:
        """Cancel what still runs of those partitions, forget what waits: their next owner has the records."""
        leaving = set(assignments)
        self._forget(leaving)
        for task, assignment in self._holders():
            if assignment in leaving:
                self._cancel(task)

    async def drain(self) -> None:
        """Start nothing new, let short work end, hand long work on."""
        self._closing = True
        self._waiting.close()
        self._desk.close()
        units = dict(self._running)
        long_work = [task for task, unit in units.items() if unit.handler.kind == "long"]
        if long_work:
            await asyncio.wait(long_work, timeout=self.context.settings.drain_timeout * LONG_DRAIN_SHARE)
            for task in long_work:
                self._cancel(task)
        await self._ended([*units, *self._beside.tasks])

    async def stop(self) -> None:
        """Cancel whatever the drain's bound left over."""
        left = [*self._running, *self._beside.tasks]
        for task in left:
            self._cancel(task)
        await self._ended(left)

    def _forget(self, leaving: set[Assignment]) -> None:
        self._lanes.discard(lambda delivery: delivery.assignment in leaving)
        self._waiting.discard(leaving)
        self._desk.gone(leaving)

    def _leaving(self, chunk: Chunk) -> bool:
        return self._closing or chunk.assignment.revoking or chunk.assignment.revoked

    def _holders(self) -> list[tuple[asyncio.Task[None], Assignment | None]]:
        """Tasks under way with the assignment that waits for each; long work in custody has none."""
        held = [(task, _assignment(unit)) for task, unit in self._running.items()]
        return [*held, *self._beside.tasks.items()]

    async def _ended(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        waited = list(tasks)
        if waited:
            await asyncio.wait(waited)

    def _holds_back(self, delivery: Delivery) -> bool:
        """Whether it stays in the window, which so pauses its partition, until a pause or an outage is over.

        Only on a topic that has no other work: elsewhere what waits would stop what need not, so it is deferred.
        """
        topic = delivery.topic.name
        if delivery.record.topic != topic or not (self.context.pauses.any or self.context.breakers.any_open):
            return False
        return all(self._hindrance(topic, handler) is not None for handler in self.context.by_topic[topic])

    def _hindrance(self, topic: str, handler: Handler[Event]) -> BlockReason | None:
        """Why a handler must not begin with what is on a topic now; None: it may."""
        pauses, breakers = self.context.pauses, self.context.breakers
        if pauses.any and pauses.holds(topic, handler.name):
            return BlockReason("paused", DEFERRAL)
        if breakers.any_open and (missing := breakers.blocks(handler)):
            return BlockReason(f"{missing} does not answer", breakers.remaining(missing))
        return None

    def _go_on(self) -> None:
        self._lanes.release()
        self._pump()

    def _pump(self) -> None:
        """Start units while slots are free."""
        while not self._closing and len(self._running) < self.context.pool.concurrency:
            unit = self._lanes.take()
            if unit is None:
                break
            task = asyncio.create_task(self._run(unit))
            self._running[task] = unit
            task.add_done_callback(self._unit_ended)

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
            del self._running[task]
            following = self._lanes.take()
            if following is None:
                return
            self._running[task] = unit = following
            self._pump()

    async def _run_unit(self, unit: Unit) -> None:
        first = unit.deliveries[0]
        # Each unit binds its own, and the task is nobody else's: nothing has to be taken back.
        bind_delivery(first.fields, _scrub(unit))
        bind_trace(partial(_traceparent, first.record))
        if (hindrance := self._hindrance(first.topic.name, unit.handler)) is not None:
            await self._settlement.deferred_all(unit.deliveries, hindrance.why, after=hindrance.seconds)
        elif not unit.handler.needs:
            await self._run_runnable(unit, first)
        else:
            breakers = self.context.breakers
            breakers.enter(unit.handler)
            try:
                await self._run_runnable(unit, first)
            finally:
                breakers.left(unit.handler)
        if self._desk.used:
            self._desk.release(unit.deliveries)

    async def _run_runnable(self, unit: Unit, first: Delivery) -> None:
        if unit.handler.kind == "long":
            await self._custody.run(first)
        elif self.context.guard.cautious:
            for delivery in unit.deliveries:
                bind_delivery(delivery.fields, _scrub(unit))
                await self.context.guard.run_alone(
                    delivery, partial(self._effects.run, [delivery]), partial(self._settlement.killed, delivery)
                )
        else:
            await self._effects.run(unit.deliveries)

    def _unit_ended(self, task: asyncio.Task[None]) -> None:
        unit = self._running.pop(task, None)
        if unit is not None:
            self._lanes.done(unit)
            if task.cancelled() and not self._closing and task not in self._cancelled:
                self._fail(StrayCancellationError("a unit was cancelled, and not by its engine"))
        self._cancelled.discard(task)
        self._watch(task)
        self._pump()

    def _cancel(self, task: asyncio.Task[None]) -> None:
        self._cancelled.add(task)
        task.cancel()

    def _settle_beside(self, delivery: Delivery, settling: Coroutine[object, object, None]) -> None:
        """A settlement that waits for Kafka keeps neither a slot nor its lane; its offset waits for it."""
        self._beside.do(delivery.assignment, settling)

    def _watch(self, task: asyncio.Task[None]) -> None:
        """The engine's own failure ends the process: a delivery that nobody settles must not stall in silence."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        log.critical("the delivery engine failed", exc_info=error)
        self.context.crash(error)


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
