"""One pool's delivery: its parts, put together, and what revocation and shutdown do to them."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from functools import partial

from streams.delivery.admission.admission import Admission, Blocked
from streams.delivery.context import PoolContext
from streams.delivery.delivery import Delivery
from streams.delivery.execution.attempt import AttemptContext, Availability
from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.delivery.intake.decoding import Decoder
from streams.delivery.intake.intake import Intake
from streams.delivery.intake.payload_loader import PayloadLoader
from streams.delivery.runners.lease_sweep import LeaseSweep
from streams.delivery.runners.leased import LeasedRunner
from streams.delivery.runners.transactional import TransactionalRunner
from streams.delivery.scheduling.lanes import Lanes
from streams.delivery.scheduling.retry_tiers import RetryTiers
from streams.delivery.scheduling.scheduler import Runners, Scheduler
from streams.delivery.settlement.dead_letter import DeadLetters
from streams.delivery.settlement.forwarding import Forwarding
from streams.delivery.settlement.pending_send import Sender
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settlement import Destinations, Settlement
from streams.delivery.telemetry import Telemetry
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Assignment

log = get_logger(__name__)
TENANT_SHARE = 8
"""A tenant may have one part in so many of a partition's window waiting; what is more goes aside.

Well below the half at which a partition that was full is read on: a few tenants that flood must not keep it paused.
"""
LONG_DRAIN_SHARE = 0.3
"""Part of the drain's time after which long work is cancelled and its lease given back."""


class PoolEngine:
    """Lives on the event loop; every method is called there."""

    def __init__(self, context: PoolContext) -> None:
        self.context = context
        self._background = BackgroundTasks(self._fail)
        self._tier = partial(context.catalogue.tier, context.pool.name)
        attempts = AttemptContext(
            context.database, context.place, context.codec, context.schemas, context.services, context.compute
        )
        telemetry, availability = Telemetry(context.group), Availability(context.gate, context.breakers)
        sender = Sender(context.records, context.settings.settle_timeout)
        destinations = Destinations(
            RetryTiers.of(context.catalogue, context.pool.name),
            DeadLetters(context.codec, context.catalogue, context.group),
        )
        waiting = SettleLoop(availability, context.settling)
        self._forwarding = Forwarding(context.database.bookkeeping, sender, destinations, telemetry, waiting)
        lost = Settlement(attempts, sender, destinations, telemetry, waiting)
        self.sweep = LeaseSweep(attempts, context.catalogue, context.handlers, lost)
        """Hands on long deliveries whose worker went away."""
        loop = SettleLoop(availability, context.settling, self._settle_in_background)
        settlement = Settlement(attempts, sender, destinations, telemetry, loop)
        transactional = TransactionalRunner(attempts, settlement, telemetry, availability)
        leased = LeasedRunner(attempts, settlement, telemetry, availability, context.settings.lease_seconds)
        payloads = PayloadLoader(
            context.codec.claims,
            context.database.bookkeeping,
            context.gate,
            context.breakers,
            by_topic=context.by_topic,
        )
        self._scheduler = self._build_scheduler(
            Runners(
                run={"single": transactional.run, "batch": transactional.run, "long": leased.run},
                blocked=partial(_settle_blocked, settlement),
                killed=settlement.killed,
                ended=payloads.release,
                hop=self._hop,
            )
        )
        self._intake = self._build_intake(payloads)
        self.accept = self._intake.accept
        """Takes a chunk of an event topic."""
        self.accept_tier = self._intake.accept_tier
        """Takes a chunk of a retry tier and the delay of that tier in seconds."""
        context.breakers.on_change(self._scheduler.release)
        context.pauses.on_change(self._scheduler.release)

    def _build_scheduler(self, runners: Runners) -> Scheduler:
        context = self.context
        admission = Admission(context.gate, context.pauses, context.breakers, context.by_topic)
        lanes = Lanes(
            context.limits,
            share=context.pool.prefetch // TENANT_SHARE,
            aside=[self._tier(0.0)],
            holds_back=admission.holds_back,
        )
        return Scheduler(
            lanes,
            admission,
            context.guard,
            runners=runners,
            concurrency=context.pool.concurrency,
            delays=context.settings.retry_delays,
            fail=self._fail,
        )

    def _build_intake(self, payloads: PayloadLoader) -> Intake:
        context = self.context
        decoder = Decoder(
            context.codec,
            context.catalogue,
            context.handlers,
            context.by_topic,
            pool=context.pool.name,
            window=context.settings.ledger_retention_days,
        )
        return Intake(
            decoder,
            self._scheduler,
            guard=context.guard,
            schemas=context.schemas,
            payloads=payloads,
            forwarding=self._forwarding,
            background=self._background,
            tier=self._tier,
            delays=context.settings.retry_delays,
            fail=self._fail,
        )

    @property
    def running(self) -> int:
        """Deliveries under way."""
        return self._scheduler.running

    @property
    def received(self) -> int:
        """Deliveries in this worker's window that do not run yet."""
        return self._scheduler.waiting

    async def on_revoking(self, assignments: Iterable[Assignment]) -> None:
        """Stop handing over what those partitions still have waiting; return when what runs of them has ended."""
        leaving = set(assignments)
        self._forget(leaving)
        with self._scheduler.giving_back():
            await _ended([*self._scheduler.tasks_of(leaving), *self._background.tasks_of(leaving)])

    def on_revoked(self, assignments: Iterable[Assignment]) -> None:
        """Cancel what still runs of those partitions, forget what waits: their next owner has the records."""
        leaving = set(assignments)
        self._forget(leaving)
        self._scheduler.cancel(self._scheduler.tasks_of(leaving))
        self._background.cancel(self._background.tasks_of(leaving))

    async def drain(self) -> None:
        """Start nothing new, let short work end, hand long work on."""
        self._intake.close()
        await self._scheduler.drain(self.context.settings.drain_timeout * LONG_DRAIN_SHARE)
        await _ended(list(self._background.tasks))

    async def stop(self) -> None:
        """Cancel whatever the drain's bound left over."""
        self._intake.close()
        left = self._scheduler.tasks, list(self._background.tasks)
        self._scheduler.cancel(left[0])
        self._background.cancel(left[1])
        await _ended([*left[0], *left[1]])

    def _forget(self, leaving: set[Assignment]) -> None:
        self._intake.forget(leaving)
        self._scheduler.discard(leaving)

    def _hop(self, delivery: Delivery, delay: float) -> None:
        if delivery.pending is not None:
            moved = self._forwarding.moved(delivery.record, self._tier(delay))
            self._background.send(delivery.pending.chunk, delivery.record, moved)

    def _settle_in_background(self, delivery: Delivery, settling: Coroutine[object, object, None]) -> None:
        """A settlement that waits for Kafka keeps neither a slot nor its lane; its offset waits for it."""
        self._background.do(delivery.assignment, settling)

    def _fail(self, error: BaseException) -> None:
        """A failure of the engine itself ends the process: a delivery that nobody settles must not stall in silence."""
        log.critical("the delivery engine failed", exc_info=error)
        self.context.crash(error)


async def _ended(tasks: Collection[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


async def _settle_blocked(settlement: Settlement, blocked: Blocked) -> None:
    why, seconds = blocked.reason
    if seconds is None:
        await settlement.expired_all(blocked.deliveries)
    else:
        await settlement.deferred_all(blocked.deliveries, why, after=seconds)
