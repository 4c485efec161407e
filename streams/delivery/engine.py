"""The delivery engine of one pool: builds its parts, and handles revocation and shutdown."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from streams.delivery.admission.admission import Admission
from streams.delivery.context import PoolContext
from streams.delivery.delivery import Delivery
from streams.delivery.execution.attempt import AttemptContext, Availability
from streams.delivery.execution.process_exit import contain_exits
from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.delivery.intake.decoding import Decoder
from streams.delivery.intake.intake import Intake
from streams.delivery.intake.payload_loader import PayloadLoader
from streams.delivery.runners.lease_sweep import LeaseSweep
from streams.delivery.runners.leased import LeasedRunner
from streams.delivery.runners.transactional import TransactionalRunner
from streams.delivery.scheduling.lanes import Lanes
from streams.delivery.scheduling.retry_tiers import RetryTiers
from streams.delivery.scheduling.runners import Runners
from streams.delivery.scheduling.scheduler import Scheduler
from streams.delivery.settlement.dead_letters.dead_letter import DeadLetters
from streams.delivery.settlement.dead_letters.unreadable_claim import UnreadableClaims
from streams.delivery.settlement.deferral import Deferrals
from streams.delivery.settlement.forwarding import Forwarding
from streams.delivery.settlement.pending_send import Sender
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settlement import Destinations, Settlement
from streams.delivery.telemetry import Telemetry
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Assignment

log = get_logger(__name__)
TENANT_SHARE = 8
"""A tenant's share of a partition's window is the pool's prefetch divided by this number.

Deliveries over the share move to tier zero. The share is well below one half, where a paused partition resumes, so that
a few flooding tenants cannot keep it paused.
"""
LONG_DRAIN_SHARE = 0.3
"""Fraction of `drain_timeout` after which long deliveries are cancelled and their leases released."""


class PoolEngine:
    """One engine per pool. Runs on the event loop; every method is called there."""

    def __init__(self, context: PoolContext) -> None:
        self.context = context
        contain_exits(asyncio.get_running_loop())
        self._background = BackgroundTasks(self._fail)
        self._tier = partial(context.catalogue.tier, context.pool.name)
        attempts = AttemptContext(
            context.database,
            context.worker_identity,
            context.codec,
            context.schemas,
            context.services,
            context.compute,
            context.spans,
        )
        self._telemetry = telemetry = Telemetry(context.group, context.catalogue, context.handlers, context.reports)
        availability = Availability(context.gate, context.breakers)
        sender = Sender(context.producer, context.settings.settle_timeout)
        destinations = Destinations(
            RetryTiers.of(context.catalogue, context.pool.name),
            DeadLetters(
                context.codec, context.catalogue, context.group, context.catalogue.fallback(context.pool.name).name
            ),
        )
        sweep_loop = SettleLoop(availability, context.settlement_slots)
        self._forwarding = Forwarding(context.database.bookkeeping, sender, destinations, telemetry, sweep_loop)
        sweep_settlement = Settlement(attempts, sender, destinations, telemetry, sweep_loop)
        self.sweep = LeaseSweep(
            attempts,
            context.catalogue,
            context.handlers,
            sweep_settlement,
            UnreadableClaims(attempts, sender, destinations.dead_letters, telemetry, sweep_loop),
            start=partial(self._background.start, None),
            patience=context.settings.settle_timeout,
        )
        """Settles long deliveries whose worker has stopped."""
        loop = SettleLoop(availability, context.settlement_slots, self._settle_in_background)
        settlement = Settlement(attempts, sender, destinations, telemetry, loop)
        self._deferrals = Deferrals(
            context.database.bookkeeping,
            context.producer,
            destinations.tiers,
            context.worker_identity,
            telemetry=telemetry,
            loop=sweep_loop,
            start=self._background.start,
            settle_alone=settlement.deferred_without_run,
        )
        transactional = TransactionalRunner(attempts, settlement, telemetry, availability)
        leased = LeasedRunner(attempts, settlement, telemetry, availability, context.settings.lease_seconds)
        payloads = PayloadLoader(
            context.codec.claims,
            context.database.bookkeeping,
            context.gate,
            context.breakers,
            by_topic=context.by_topic,
            removal=context.settings.claim_check_removal,
        )
        self._scheduler = self._build_scheduler(
            Runners(
                run={"single": transactional.run, "batch": transactional.run, "long": leased.run},
                expired=settlement.expired_all,
                defer=self._deferrals.add,
                killed=settlement.killed,
                broken=settlement.broken,
                ended=payloads.release,
                hop=self._hop,
            ),
            telemetry,
        )
        self._intake = self._build_intake(payloads, telemetry)
        self.accept = self._intake.accept
        """Accepts a chunk of an event topic."""
        self.accept_tier = self._intake.accept_tier
        """Accepts a chunk of a retry tier, and the delay of that tier in seconds."""
        context.breakers.on_change(self._scheduler.release)
        context.pauses.on_change(self._scheduler.release)

    def _build_scheduler(self, runners: Runners, telemetry: Telemetry) -> Scheduler:
        context = self.context
        admission = Admission(context.gate, context.pauses, context.breakers, context.by_topic)
        lanes = Lanes(
            context.limits,
            tenant_share=context.pool.prefetch // TENANT_SHARE,
            low_priority=[self._tier(0.0)],
            stays_queued=admission.stays_queued,
        )
        return Scheduler(
            lanes,
            admission,
            context.guard,
            runners=runners,
            telemetry=telemetry,
            concurrency=context.pool.concurrency,
            delays=context.settings.retry_delays,
            fail=self._fail,
        )

    def _build_intake(self, payloads: PayloadLoader, telemetry: Telemetry) -> Intake:
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
            telemetry=telemetry,
            tier=self._tier,
            delays=context.settings.retry_delays,
            fail=self._fail,
        )

    @property
    def running(self) -> int:
        """The number of running deliveries."""
        return self._scheduler.running

    @property
    def waiting(self) -> int:
        """The number of deliveries in this worker's window that do not run yet."""
        return self._scheduler.waiting

    async def on_revoking(self, assignments: Iterable[Assignment]) -> None:
        """Discard the waiting deliveries of these assignments, and return when their running ones have ended."""
        leaving = set(assignments)
        self._discard(leaving)
        units, background = self._scheduler.tasks_of(leaving), self._background.tasks_of(leaving)
        with self._scheduler.revoking(), self._count_exceeded(units, background):
            await _wait_until_done([*units, *background])

    def on_revoked(self, assignments: Iterable[Assignment]) -> None:
        """Cancel the running deliveries of these assignments and discard the waiting ones.

        The next owners of the partitions read the records again.
        """
        leaving = set(assignments)
        self._discard(leaving)
        self._scheduler.cancel(self._scheduler.tasks_of(leaving))
        self._background.cancel(self._background.tasks_of(leaving))

    async def drain(self) -> None:
        """Start no new delivery, wait for the running ones, and release the leases of long ones."""
        self._intake.close()
        self._deferrals.close()
        with self._count_exceeded(self._scheduler.tasks, self._background.tasks):
            await self._scheduler.drain(self.context.settings.drain_timeout * LONG_DRAIN_SHARE)
            await _wait_until_done(list(self._background.tasks))

    async def stop(self) -> None:
        """Cancel everything that still runs after the drain."""
        self._intake.close()
        left = self._scheduler.tasks, list(self._background.tasks)
        self._scheduler.cancel(left[0])
        self._background.cancel(left[1])
        await _wait_until_done([*left[0], *left[1]])

    @contextmanager
    def _count_exceeded(
        self, units: Collection[asyncio.Task[None]], background: Collection[asyncio.Task[None]]
    ) -> Iterator[None]:
        """Count a drain that met its time limit: then the caller's wait is cancelled while these tasks run."""
        try:
            yield
        except asyncio.CancelledError:
            kinds: list[str] = [*self._scheduler.running_kinds(units)]
            self._telemetry.drain_exceeded([*kinds, *("settlement" for task in background if not task.done())])
            raise

    def _discard(self, leaving: set[Assignment]) -> None:
        self._intake.discard(leaving)
        self._scheduler.discard(leaving)
        self._deferrals.discard(leaving)

    def _hop(self, delivery: Delivery, delay: float) -> None:
        if delivery.pending is not None:
            tier = self._tier(delay)
            moved = self._forwarding.moved(delivery.record, tier, delivery)
            self._background.send(delivery.pending.chunk, delivery.record, tier, moved)

    def _settle_in_background(self, delivery: Delivery, settling: Coroutine[object, object, None]) -> None:
        """Continue a settlement that waits for Kafka, without a slot or a lane. Its offset stays unacknowledged."""
        self._background.start(delivery.assignment, settling)

    def _fail(self, error: BaseException) -> None:
        """End the process after a failure of the engine itself: an unsettled delivery must not block its partition."""
        log.critical("delivery engine failed", exc_info=error)
        self.context.crash(error)


async def _wait_until_done(tasks: Collection[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
