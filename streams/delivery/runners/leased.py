"""Runs long handlers: claimed under a lease, acknowledged at once, run in steps without an open transaction."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams.delivery.admission.circuit_breaker import FAILURES_UNTIL_OPEN, UNAVAILABLE_PAUSE
from streams.delivery.admission.database_gate import CONFLICT_RERUNS, trouble
from streams.delivery.delivery import Delivery, at_ms, now_ms
from streams.delivery.errors import LeaseLostError, SoftTimeLimitExceeded, Unavailable
from streams.delivery.execution.attempt import AttemptContext, Availability, LongWork, tidy_up
from streams.delivery.execution.time_limits import run_within
from streams.delivery.handler import JSON, Handler
from streams.delivery.ledger import leases
from streams.delivery.settlement.settlement import Attempt, Settlement
from streams.delivery.telemetry import Telemetry
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
BUSY_PAUSE = 2.0
"""Seconds until a delivery whose resource another one holds is looked at again."""
CLAIM_PAUSE = 0.1
"""Seconds until a claim is repeated after a lost race."""
HEARTBEATS_PER_LEASE = 3


class LeasedRunner:
    """Runs long deliveries: claim, acknowledge, work under heartbeats, settle."""

    def __init__(
        self,
        context: AttemptContext,
        settlement: Settlement,
        telemetry: Telemetry,
        availability: Availability,
        lease_seconds: float,
    ) -> None:
        """Take what running needs.

        Args:
            context: What the handlers work with.
            settlement: Ends what fails, expires or has to wait.
            telemetry: Called after each commit.
            availability: Claims wait while the database is away; handlers report whether their dependencies answer.
            lease_seconds: How long a lease lasts without a heartbeat.
        """
        self._context = context
        self._settlement = settlement
        self._telemetry = telemetry
        self._gate = availability.gate
        self._breakers = availability.breakers
        self._lease_seconds = lease_seconds

    async def run(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery] | None:
        """Run one delivery from its claim to its settlement; when cancelled, give its lease back.

        Returns it if the database went away before it was claimed; None: it is settled, or its lease holds it.
        """
        (delivery,) = deliveries
        began = at_ms(now_ms())
        try:
            lease = self._lease(delivery)
            claimed = await self._claim(delivery, lease)
        except Exception as error:  # noqa: BLE001 - a name that no lease can have is this delivery's failure
            self._telemetry.failed(delivery, error, (at_ms(now_ms()) - began).total_seconds())
            await self._settlement.failed(Attempt(delivery, began), error)
            return None
        if claimed == "outage":
            return [delivery]
        if claimed == "busy":
            await self._settlement.deferred(Attempt(delivery, at_ms(now_ms())), "resource is busy", after=BUSY_PAUSE)
            return None
        delivery.acknowledge()
        if claimed == "claimed":
            attempt = Attempt(delivery, at_ms(now_ms()), lease)
            try:
                await self._work(attempt, lease)
            except asyncio.CancelledError:
                # A worker that leaves hands its work on at once, uncounted, instead of letting the lease expire.
                await asyncio.shield(self._settlement.given_back(attempt, "worker leaves"))
                raise
        else:
            self._telemetry.skipped([delivery], [])
        return None

    def _lease(self, delivery: Delivery) -> leases.Lease:
        handler = delivery.handler
        if handler.resource is None:
            message = f"long handler {handler.name} names no resource"
            raise TypeError(message)
        return leases.Lease(handler.resource(delivery.event), uuid4(), self._lease_seconds)

    async def _claim(self, delivery: Delivery, lease: leases.Lease) -> str:
        """Claim the delivery.

        Returns `claimed`, `busy` (another delivery holds the resource), `moved on` (it ran, or runs) or `outage` (the
        database is unavailable).
        """
        while True:
            try:
                async with AsyncSession(self._context.database.bookkeeping) as session:
                    if not await leases.claim_lease(session, delivery, lease):
                        return "busy"
                    if not await leases.claim_long(session, delivery, lease, self._context.place):
                        return "moved on"
                    await session.commit()
                    return "claimed"
            except SQLAlchemyError as error:
                kind = trouble(error)
                if kind is None:
                    raise
                if kind == "outage":
                    self._gate.trip(error)
                    return "outage"
                await asyncio.sleep(CLAIM_PAUSE)

    async def _work(self, attempt: Attempt, lease: leases.Lease) -> None:
        delivery = attempt.delivery
        work = LongWork(self._context, delivery, lease)
        try:
            result = await self._run_again(delivery, work)
            if not work.finished:
                await self._finish(delivery, lease, result)
            elif result is not None:
                await self._note_result(delivery, result)
        except LeaseLostError:
            self._telemetry.lease_lost(delivery, lease.resource)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is settled, never swallowed
            if trouble(error) == "outage":
                self._gate.trip(error)
                await self._settlement.deferred(attempt, "database was away", after=0.0)
                return
            if isinstance(error, Unavailable) and (wait := self._breakers.blocked_by(error)):
                await self._settlement.deferred(attempt, str(error), after=wait)
                return
            self._telemetry.failed(delivery, error, _took(attempt))
            if isinstance(error, SoftTimeLimitExceeded):
                await tidy_up(self._context, delivery, error)
            await self._settlement.failed(attempt, error)
        else:
            self._telemetry.succeeded([delivery], _took(attempt))
            self._breakers.succeeded(delivery.handler)

    async def _run_again(self, delivery: Delivery, work: LongWork) -> JSON:
        """Run it again after a lost race for rows, and where a dependency failed that may not be away.

        Under the same lease; its steps find what they have committed.
        """
        for rerun in range(CONFLICT_RERUNS):
            try:
                return await self._run_held(delivery, work)
            except DBAPIError as error:
                if trouble(error) != "conflict":
                    raise
                log.info("lost a race for rows, running again", error=message(error))
            except Unavailable as error:
                if self._breakers.failed(error) or rerun >= FAILURES_UNTIL_OPEN:
                    raise
                log.info("a dependency did not answer, running again", error=message(error))
                await asyncio.sleep(UNAVAILABLE_PAUSE * (rerun + 1))
        return await self._run_held(delivery, work)

    async def _run_held(self, delivery: Delivery, work: LongWork) -> JSON:
        """Call the handler; cancel it as soon as a heartbeat finds the lease lost."""
        handler = delivery.handler
        running = asyncio.create_task(
            run_within(_call(handler, delivery.event, work), handler.soft_time_limit, handler.time_limit)
        )
        beating = asyncio.create_task(self._keep_lease(work))
        try:
            await asyncio.wait({running, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                running.cancel()
                await asyncio.wait({running})
                message = "the lease ran out under the work"
                raise LeaseLostError(message)
            return running.result()
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait({running})
            raise
        finally:
            beating.cancel()

    async def _keep_lease(self, work: LongWork) -> None:
        """Extend the lease again and again, and return when it is lost; a database that is away does not lose it."""
        while True:
            await asyncio.sleep(self._lease_seconds / HEARTBEATS_PER_LEASE)
            try:
                await work.heartbeat()
            except LeaseLostError:
                return
            except SQLAlchemyError as error:
                if trouble(error) is None:
                    raise
                log.warning("heartbeat failed", error=message(error))

    async def _finish(self, delivery: Delivery, lease: leases.Lease, result: JSON) -> None:
        async with AsyncSession(self._context.database.bookkeeping) as session, session.begin():
            if not await leases.hold_lease(session, lease):
                message = f"the lease on {lease.resource} is lost"
                raise LeaseLostError(message)
            await leases.finish_long(session, delivery, lease, result)

    async def _note_result(self, delivery: Delivery, result: JSON) -> None:
        """Write what a handler returned after its final step, which has settled the delivery: that stays."""
        try:
            async with AsyncSession(self._context.database.bookkeeping) as session, session.begin():
                await leases.note_result(session, delivery, result)
        except Exception:
            log.exception("the result of a delivery that has succeeded could not be kept")


def _took(attempt: Attempt) -> float:
    """Return the seconds since an attempt began."""
    return (at_ms(now_ms()) - attempt.started_at).total_seconds()


async def _call(handler: Handler[Event], event: Event, work: LongWork) -> JSON:
    return await handler.function(event, work)
