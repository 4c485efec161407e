"""Runs long handlers: claimed under a lease, acknowledged at once, run in steps without an open transaction."""

import asyncio
import time
from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.admission.circuit_breaker import FAILURES_UNTIL_OPEN, UNAVAILABLE_PAUSE
from streams.delivery.admission.database_gate import (
    CONFLICT_RERUNS,
    LOST_RUN_PAUSE,
    counts_lost_run,
    database_error_kind,
)
from streams.delivery.delivery import Delivery, at_ms, now_ms
from streams.delivery.errors import LeaseLostError, OutageError, SoftTimeLimitExceeded, Unavailable
from streams.delivery.execution.attempt import AttemptContext, Availability, LongWork, call_on_soft_limit
from streams.delivery.execution.process_exit import exit_error
from streams.delivery.handler import JSON
from streams.delivery.ledger import leases
from streams.delivery.runners.heartbeats import HEARTBEATS_PER_LEASE, run_with_heartbeats
from streams.delivery.settlement.settlement import Settlement
from streams.delivery.settlement.settling import Attempt
from streams.delivery.telemetry import Telemetry
from streams.observability.error_text import message, type_name
from streams.observability.logs import get_logger
from streams.observability.tracing import NO_SPAN

log = get_logger(__name__)
BUSY_PAUSE = 2.0
"""Seconds until a delivery whose resource is busy is tried again."""
CLAIM_PAUSE = 0.1
"""Seconds until a claim is repeated after a serialization failure or deadlock."""


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
        """Create the runner of one pool.

        Args:
            context: The dependencies of the handlers.
            settlement: Settles deliveries that fail or must wait.
            telemetry: Called after each commit.
            availability: Claims wait during a database outage; handlers report whether their dependencies answer.
            lease_seconds: How long a lease lasts without a heartbeat.
        """
        self._context = context
        self._settlement = settlement
        self._telemetry = telemetry
        self._gate = availability.gate
        self._breakers = availability.breakers
        self._lease_seconds = lease_seconds

    async def run(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery] | None:
        """Run one delivery from its claim to its settlement. A cancellation releases its lease.

        Returns the delivery if the database failed before the claim; None: it is settled, or claimed by its lease.
        """
        (delivery,) = deliveries
        began = at_ms(now_ms())
        try:
            lease = self._lease(delivery)
            claimed = await self._claim(delivery, lease)
        except Exception as error:  # noqa: BLE001 - for example a wrong resource name; the attempt fails
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
            span = NO_SPAN if self._context.spans is None else self._context.spans.process([delivery])
            attempt = Attempt(delivery, at_ms(now_ms()), lease, span)
            try:
                await self._work(attempt, lease)
            except asyncio.CancelledError:
                # Release it to another worker at once, uncounted. Otherwise it would wait for the lease to expire.
                await asyncio.shield(self._settlement.released(attempt, "worker stops"))
                raise
        else:
            self._telemetry.skipped([delivery], [])
        return None

    def _lease(self, delivery: Delivery) -> leases.Lease:
        handler = delivery.handler
        if handler.resource is None:
            message = f"long handler {handler.name} has no resource"
            raise TypeError(message)
        try:
            resource = handler.resource(delivery.event)
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            raise exit_error(error) from error
        return leases.Lease(resource, uuid4(), self._lease_seconds)

    async def _claim(self, delivery: Delivery, lease: leases.Lease) -> str:
        """Claim the delivery.

        Returns `claimed`, `busy` (another delivery holds the resource), `moved on` (it ran, or runs) or `outage` (the
        database is unavailable). After a COMMIT without a reply it waits for the database and claims with the same
        lease: if the first claim succeeded, no other lease could be claimed before it has expired.
        """
        may_be_committed = False
        while True:
            try:
                async with AsyncSession(self._context.database.bookkeeping) as session:
                    if not await leases.claim_lease(session, delivery, lease):
                        return "busy"
                    if not await leases.claim_long(session, delivery, lease, self._context.worker_identity):
                        return "moved on"
                    may_be_committed = True
                    await session.commit()
                    return "claimed"
            except SQLAlchemyError as error:
                kind = database_error_kind(error)
                if kind is None:
                    raise
                if kind == "outage" and await self._gate.confirm(error):
                    if not may_be_committed:
                        return "outage"
                    await self._gate.wait_until_open()
                else:
                    await asyncio.sleep(CLAIM_PAUSE)

    async def _work(self, attempt: Attempt, lease: leases.Lease) -> None:
        delivery = attempt.delivery
        work = LongWork(self._context, delivery, lease, attempt.span)
        try:
            with attempt.span.current():
                times = await self._run_through_outages(delivery, work, lease)
        except LeaseLostError as error:
            attempt.span.end("crashed", type_name(error))
            self._telemetry.lease_lost(delivery, lease.resource)
        except Exception as error:  # noqa: BLE001 - every exception of a handler is settled
            if isinstance(error, OutageError):
                await self._settlement.deferred(attempt, "database was unavailable", after=0.0)
                return
            if isinstance(error, Unavailable) and (wait := self._breakers.retry_delay(error)):
                await self._settlement.deferred(attempt, str(error), after=wait)
                return
            self._telemetry.failed(delivery, error, _seconds_since(attempt))
            if isinstance(error, SoftTimeLimitExceeded):
                await call_on_soft_limit(self._context, delivery, error)
            await self._settlement.failed(attempt, error)
        else:
            attempt.span.end("success")
            self._telemetry.succeeded([delivery], *times)
            self._breakers.succeeded(delivery.handler)
        finally:
            self._telemetry.used(delivery, work.processor_seconds)

    async def _run_through_outages(
        self, delivery: Delivery, work: LongWork, lease: leases.Lease
    ) -> tuple[float, float, float]:
        """Run the handler to its success. Run it again under the same lease if it lost its connection for a moment.

        Returns when it began, when the handler returned and when its success was committed (`time.perf_counter`).
        Raises OutageError if the database does not answer for a while. The handler's last error is raised if its runs
        always lose their connection.
        """
        began = time.perf_counter()
        while True:
            try:
                result = await self._run_with_reruns(delivery, work)
                returned = time.perf_counter()
                if not work.finished:
                    await self._finish(delivery, lease, result)
                elif result is not None:
                    await self._add_result(delivery, result)
            except SQLAlchemyError as error:
                if database_error_kind(error) != "outage" or counts_lost_run([delivery], error):
                    raise
                if await self._gate.confirm(error) and not await self._answers_soon():
                    raise OutageError from error
                log.info("the handler lost its connection; running again", error=message(error))
                await asyncio.sleep(LOST_RUN_PAUSE * delivery.lost_runs)
            else:
                return began, returned, time.perf_counter()

    async def _answers_soon(self) -> bool:
        """Return whether an outage is over before the lease would need its next heartbeat."""
        try:
            async with asyncio.timeout(self._lease_seconds / HEARTBEATS_PER_LEASE):
                await self._gate.wait_until_open()
        except TimeoutError:
            return False
        return True

    async def _run_with_reruns(self, delivery: Delivery, work: LongWork) -> JSON:
        """Run the handler, again after a deadlock or serialization failure, and after failures of a dependency.

        The reruns use the same lease. The steps must find what earlier runs have committed.
        """
        for rerun in range(CONFLICT_RERUNS):
            try:
                return await run_with_heartbeats(delivery, work, self._lease_seconds)
            except DBAPIError as error:
                if database_error_kind(error) != "conflict":
                    raise
                log.info("serialization failure or deadlock; running again", error=message(error))
            except Unavailable as error:
                if self._breakers.failed(error, delivery.handler) or rerun >= FAILURES_UNTIL_OPEN:
                    raise
                log.info("dependency did not answer; running again", error=message(error))
                await asyncio.sleep(UNAVAILABLE_PAUSE * (rerun + 1))
        return await run_with_heartbeats(delivery, work, self._lease_seconds)

    async def _finish(self, delivery: Delivery, lease: leases.Lease, result: JSON) -> None:
        async with AsyncSession(self._context.database.bookkeeping) as session, session.begin():
            if not await leases.lock_lease(session, lease):
                message = f"the lease on {lease.resource} is lost"
                raise LeaseLostError(message)
            await leases.finish_long(session, delivery, lease, result)

    async def _add_result(self, delivery: Delivery, result: JSON) -> None:
        """Write the handler's result after its final step. A failure is only logged: the delivery is settled."""
        try:
            async with AsyncSession(self._context.database.bookkeeping) as session, session.begin():
                await leases.add_result(session, delivery, result)
        except Exception:
            log.exception("cannot store the result of a successful delivery")


def _seconds_since(attempt: Attempt) -> float:
    """Return the seconds since an attempt started."""
    return (at_ms(now_ms()) - attempt.started_at).total_seconds()
