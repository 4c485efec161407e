"""Runs single and batch handlers: one transaction around the handler and its ledger rows."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from schemas import Event
from streams.delivery.admission.circuit_breaker import FAILURES_UNTIL_OPEN, UNAVAILABLE_PAUSE
from streams.delivery.admission.database_gate import (
    CONFLICT_RERUNS,
    LOST_RUN_PAUSE,
    Uncounted,
    database_error_kind,
    forget_lost_runs,
)
from streams.delivery.delivery import Delivery, acknowledge_all, at_ms, now_ms
from streams.delivery.errors import OutageError, SoftTimeLimitExceeded, TimeLimitExceeded, Unavailable
from streams.delivery.execution.attempt import (
    AttemptContext,
    Availability,
    EffectWork,
    call_on_soft_limit,
)
from streams.delivery.execution.process_exit import start_call
from streams.delivery.execution.processor_time import THREAD_CLOCK
from streams.delivery.execution.time_limits import run_within
from streams.delivery.execution.transaction import EffectTransaction
from streams.delivery.handler import JSON, Handler, Kind
from streams.delivery.ledger.claim import claim_effect, complete_effect
from streams.delivery.ledger.columns import WorkerIdentity
from streams.delivery.settlement.reduction import is_data_error
from streams.delivery.settlement.settlement import Settlement
from streams.delivery.settlement.settling import Attempt
from streams.delivery.telemetry import Telemetry
from streams.observability.error_text import type_name
from streams.observability.logs import get_logger
from streams.observability.tracing import NO_SPAN, Span

log = get_logger(__name__)
RECORDED_DURATION: Mapping[Kind, float] = {"single": 0.1, "batch": 1.0}
"""Seconds of work above which another statement writes the end time. Shorter runs have their start as their end.

For a batch this statement updates each row once more, which costs a quarter of the throughput of charging messages.
"""
_Done = tuple[list[Delivery], float, float, float, float]
"""What a run did: its deliveries, when it began, when the handler returned, and when the transaction was committed.

These times are in seconds of `time.perf_counter`. The last number is the processor time.
"""
TERMINATE_BACKEND = text("select pg_terminate_backend(:pid)")


class ClaimBlockedError(Exception):
    """Another transaction holds the row of a delivery, such as a frozen worker's. Its handler was not called."""


class ClaimRejectedError(Exception):
    """The ledger cannot have a row of this event, so no attempt can succeed. The cause has the database's error."""


class TransactionalRunner:
    """Runs units of single and batch handlers until each of their deliveries is settled and acknowledged."""

    def __init__(
        self, context: AttemptContext, settlement: Settlement, telemetry: Telemetry, availability: Availability
    ) -> None:
        """Create the runner of one pool.

        Args:
            context: The dependencies of the handlers.
            settlement: Settles deliveries that fail or must wait.
            telemetry: Called after each commit.
            availability: Units wait during a database outage; handlers report whether their dependencies answer.
        """
        self._context = context
        self._settlement = settlement
        self._telemetry = telemetry
        self._gate = availability.gate
        self._breakers = availability.breakers
        self._spans = context.spans

    async def run(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery] | None:
        """Run a unit. A failing batch is halved until the bad event is alone. Offset order is kept.

        Returns the deliveries that are not settled because the database failed; None: all are settled.
        """
        parts = [list(deliveries)]
        while parts:
            part = parts.pop()
            distinct, repeated = _distinct(part)
            error, began, span, done = await self._attempt(distinct)
            if error is None:
                acknowledge_all(part)
                if done is not None:
                    self._telemetry.succeeded(*done)
                continue
            if repeated:
                distinct.extend(repeated)
                distinct.sort(key=lambda delivery: delivery.record.offset)
            if isinstance(error, (OutageError, ClaimBlockedError)):
                span.end("rerun", type_name(error))
                return [*distinct, *(delivery for later in reversed(parts) for delivery in later)]
            if isinstance(error, Unavailable) and (waiting := self._breakers.retry_delay(error)):
                span.end("deferred", type_name(error))
                await self._settlement.deferred_all(distinct, str(error), after=waiting)
                continue
            if len(distinct) > 1:
                span.end("halved", type_name(error))
                middle = len(distinct) // 2
                parts.extend((distinct[middle:], distinct[:middle]))
                continue
            if isinstance(error, ClaimRejectedError):
                span.end("dead", type_name(error))
                await self._settlement.broken(distinct, error.__cause__ or error)
            else:
                await self._fail(Attempt(distinct[0], at_ms(began), span=span), error)
        return None

    async def _attempt(self, deliveries: list[Delivery]) -> tuple[Exception | None, int, Span, _Done | None]:
        """Run until the transaction commits or fails. Conflicts are rerun; an outage closes the gate.

        A run that lost its connection although the database answers is also rerun, a few times.

        Returns the error, or None, the start of the last run (ms since the epoch), its span (open after an error),
        and what the run did.
        """
        reruns = 0
        while True:
            if self._gate.needs_turns:
                async with self._gate.turn(deliveries):
                    error, began, span, done, uncounted = await self._run_once(deliveries)
            else:
                error, began, span, done, uncounted = await self._run_once(deliveries)
            if error is None:
                return None, began, span, done
            if uncounted == "outage":
                return OutageError(), began, span, None
            if uncounted == "lost run":
                span.end("rerun", type_name(error))
                await asyncio.sleep(LOST_RUN_PAUSE * max(delivery.lost_runs for delivery in deliveries))
            elif database_error_kind(error) == "conflict" and reruns < CONFLICT_RERUNS:
                span.end("rerun", type_name(error))
                reruns += 1
            elif self._may_rerun(error, deliveries[0].handler) and reruns < FAILURES_UNTIL_OPEN:
                span.end("rerun", type_name(error))
                reruns += 1
                await asyncio.sleep(UNAVAILABLE_PAUSE * reruns)
            else:
                return error, began, span, None

    async def _run_once(
        self, deliveries: list[Delivery]
    ) -> tuple[Exception | None, int, Span, _Done | None, Uncounted | None]:
        """Run the transaction once. Return as `_attempt` does, and why an error is no failed attempt."""
        began, span = now_ms(), NO_SPAN
        try:
            if self._spans is None or (span := self._spans.process(deliveries)) is NO_SPAN:
                done = await self._transaction(deliveries, self._context.database.effects)
            else:
                with span.current():
                    done = await self._transaction(deliveries, self._context.database.traced_effects)
                span.end("success" if done is not None else "duplicate")
        except Exception as error:  # noqa: BLE001 - every exception of a handler is settled
            # Still in the turn: the next run begins when this outage is over, and cannot be lost to it.
            return error, began, span, None, await self._gate.judge(deliveries, error)
        if self._breakers.needs(deliveries[0].handler):
            self._breakers.succeeded(deliveries[0].handler)
        return None, began, span, done, None

    def _may_rerun(self, error: Exception, handler: Handler[Event]) -> bool:
        """Return whether a dependency failed whose breaker is still closed: another run shows its state."""
        return isinstance(error, Unavailable) and not self._breakers.failed(error, handler)

    async def _transaction(self, deliveries: list[Delivery], engine: AsyncEngine) -> _Done | None:
        """Run the deliveries that did not run before; return which, and its times. None: nothing ran."""
        handler, identity = deliveries[0].handler, self._context.worker_identity
        began = returned = time.perf_counter()
        used = 0.0
        try:
            async with EffectTransaction(engine, handler.time_limit) as transaction:
                todo = deliveries
                # Even without a ledger, a delivery that failed or was deferred has a row, which must end with it.
                if recorded := deliveries if handler.ledger else [delivery for delivery in deliveries if delivery.seq]:
                    claimed = await _claim(transaction.session, recorded, identity)
                    skipped = {delivery.event.event_id for delivery in recorded} - claimed
                    todo = [delivery for delivery in deliveries if delivery.event.event_id not in skipped]
                if todo:
                    result, used = await self._call(handler, todo, transaction)
                    returned = time.perf_counter()
                    if handler.ledger and (result is not None or returned - began > RECORDED_DURATION[handler.kind]):
                        await complete_effect(transaction.session, todo, result)
        except BaseException:
            if used:  # the handler returned, and its effects are rolled back
                self._telemetry.used(deliveries[0], used)
            raise
        committed = time.perf_counter()
        if len(todo) < len(deliveries):
            self._telemetry.skipped(deliveries, todo)
        return (todo, began, returned, committed, used) if todo else None

    async def _call(
        self, handler: Handler[Event], deliveries: list[Delivery], transaction: EffectTransaction
    ) -> tuple[JSON, float]:
        """Call the handler within its time limits; return its result and its processor time.

        At the hard limit its database backend is terminated.
        """
        number = max(delivery.run_number for delivery in deliveries)
        work = EffectWork(self._context, transaction, handler, number, deliveries[0].event.tenant_id)
        events = [delivery.event for delivery in deliveries]
        call = start_call(handler.function, events if handler.kind == "batch" else events[0], work)
        began = THREAD_CLOCK.seconds()
        try:
            result = await run_within(call, handler.soft_time_limit, handler.time_limit, spent=work)
        except BaseException as error:
            self._telemetry.used(deliveries[0], THREAD_CLOCK.seconds() - began + work.processor_seconds)
            if isinstance(error, TimeLimitExceeded) and transaction.backend_pid is not None:
                async with AsyncSession(self._context.database.bookkeeping) as bookkeeping, bookkeeping.begin():
                    await bookkeeping.execute(TERMINATE_BACKEND, {"pid": transaction.backend_pid})
            raise
        return result, THREAD_CLOCK.seconds() - began + work.processor_seconds

    async def _fail(self, attempt: Attempt, error: Exception) -> None:
        delivery = attempt.delivery
        self._telemetry.failed(delivery, error, (at_ms(now_ms()) - attempt.started_at).total_seconds())
        forget_lost_runs(delivery)
        if isinstance(error, SoftTimeLimitExceeded):
            await call_on_soft_limit(self._context, delivery, error)
        await self._settlement.failed(attempt, error)


async def _claim(session: AsyncSession, deliveries: Sequence[Delivery], identity: WorkerIdentity) -> set[UUID]:
    """Claim deliveries as `claim_effect` does.

    Raises:
        ClaimBlockedError: The wait for a row took too long. That is no attempt.
        ClaimRejectedError: The database or its driver cannot take the values.
    """
    try:
        return await claim_effect(session, deliveries, identity)
    except (DBAPIError, ValueError, TypeError) as error:
        if database_error_kind(error) == "timeout":
            log.info("another transaction holds the row of a delivery; claiming it again")
            raise ClaimBlockedError from error
        if is_data_error(error) or not isinstance(error, DBAPIError):
            raise ClaimRejectedError from error
        raise


def _distinct(deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
    """Return one delivery per event, and the duplicates: one statement cannot claim a row twice.

    The chosen one is the first with the highest `seq`. One with a lower `seq` would be rejected by the fence.
    """
    if len(deliveries) == 1 or len({delivery.event.event_id.int for delivery in deliveries}) == len(deliveries):
        return list(deliveries), []
    newest: dict[UUID, Delivery] = {}
    for delivery in deliveries:
        known = newest.get(delivery.event.event_id)
        if known is None or known.seq < delivery.seq:
            newest[delivery.event.event_id] = delivery
    chosen = [delivery for delivery in deliveries if newest[delivery.event.event_id] is delivery]
    return chosen, [delivery for delivery in deliveries if newest[delivery.event.event_id] is not delivery]
