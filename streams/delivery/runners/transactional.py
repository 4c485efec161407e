"""Runs single and batch handlers: one transaction around the handler and its ledger rows."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams.delivery.admission.circuit_breaker import FAILURES_UNTIL_OPEN, UNAVAILABLE_PAUSE
from streams.delivery.admission.database_gate import CONFLICT_RERUNS, trouble
from streams.delivery.delivery import Delivery, acknowledge_all, at_ms, now_ms
from streams.delivery.errors import SoftTimeLimitExceeded, TimeLimitExceeded, Unavailable
from streams.delivery.execution.attempt import AttemptContext, Availability, EffectWork, awaited, tidy_up
from streams.delivery.execution.time_limits import run_within
from streams.delivery.execution.transaction import EffectTransaction
from streams.delivery.handler import JSON, Handler, Kind
from streams.delivery.ledger import claim as claim_module
from streams.delivery.settlement.settlement import Attempt, Settlement
from streams.delivery.telemetry import Telemetry

NOTED_DURATION: Mapping[Kind, float] = {"single": 0.1, "batch": 1.0}
"""Seconds of work from which on a statement of its own writes the end; shorter work has its start as its end.

A batch's statement writes each of its rows once more, which takes a quarter of what charging messages can do.
"""
TERMINATE = text("select pg_terminate_backend(:pid)")


class TransactionalRunner:
    """Runs units of single and batch handlers until each of their deliveries is settled and acknowledged."""

    def __init__(
        self, context: AttemptContext, settlement: Settlement, telemetry: Telemetry, availability: Availability
    ) -> None:
        """Take what running needs.

        Args:
            context: What the handlers work with.
            settlement: Ends what fails, expires or has to wait.
            telemetry: Called after each commit.
            availability: Units wait while the database is away; handlers report whether their dependencies answer.
        """
        self._context = context
        self._settlement = settlement
        self._telemetry = telemetry
        self._gate = availability.gate
        self._breakers = availability.breakers

    async def run(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery] | None:
        """Run a unit; a batch that fails is halved until the bad event stands alone. Offset order is kept.

        Returns the deliveries that are not settled because the database went away; None: all are.
        """
        parts = [list(deliveries)]
        while parts:
            part = parts.pop()
            distinct, repeated = _distinct(part)
            error, began = await self._attempt(distinct)
            if error is None:
                acknowledge_all(part)
                continue
            if repeated:
                distinct.extend(repeated)
                distinct.sort(key=lambda delivery: delivery.record.offset)
            if trouble(error) == "outage":
                return [*distinct, *(delivery for later in reversed(parts) for delivery in later)]
            if isinstance(error, Unavailable) and (waiting := self._breakers.blocked_by(error)):
                await self._settlement.deferred_all(distinct, str(error), after=waiting)
                continue
            if len(distinct) > 1:
                middle = len(distinct) // 2
                parts.extend((distinct[middle:], distinct[:middle]))
                continue
            await self._fail(distinct[0], error, at_ms(began))
        return None

    async def _attempt(self, deliveries: list[Delivery]) -> tuple[Exception | None, int]:
        """Run until it commits or fails; lost races are repeated, an outage has closed the gate.

        Returns the error, or None, and when the last run began (ms since the epoch).
        """
        reruns = 0
        while True:
            began = now_ms()
            try:
                await self._transaction(deliveries)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is settled, never swallowed
                kind = trouble(error)
                if kind == "outage":
                    self._gate.trip(error)
                    return error, began
                if kind == "conflict" and reruns < CONFLICT_RERUNS:
                    reruns += 1
                elif self._runs_again(error) and reruns < FAILURES_UNTIL_OPEN:
                    reruns += 1
                    await asyncio.sleep(UNAVAILABLE_PAUSE * reruns)
                else:
                    return error, began
            else:
                if deliveries[0].handler.needs:
                    self._breakers.succeeded(deliveries[0].handler)
                return None, began

    def _runs_again(self, error: Exception) -> bool:
        """Return whether a dependency failed that is not yet known to be away: the next run shows it."""
        return isinstance(error, Unavailable) and not self._breakers.failed(error)

    async def _transaction(self, deliveries: list[Delivery]) -> None:
        handler, place = deliveries[0].handler, self._context.place
        began = time.perf_counter()
        async with EffectTransaction(self._context.database.effects, handler.time_limit) as transaction:
            todo = deliveries
            # Without a ledger too a delivery that has failed or was deferred has a row, which has to end with it.
            if kept := deliveries if handler.ledger else [delivery for delivery in deliveries if delivery.seq]:
                claimed = await claim_module.claim_effect(transaction.session, kept, place)
                gone = {delivery.event.event_id for delivery in kept} - claimed
                todo = [delivery for delivery in deliveries if delivery.event.event_id not in gone]
            if todo:
                result = await self._call(handler, todo, transaction)
                took = time.perf_counter() - began
                if handler.ledger and (result is not None or took > NOTED_DURATION[handler.kind]):
                    await claim_module.complete_effect(transaction.session, todo, result)
        self._telemetry.succeeded(todo, time.perf_counter() - began)
        if len(todo) < len(deliveries):
            self._telemetry.skipped(deliveries, todo)

    async def _call(self, handler: Handler[Event], deliveries: list[Delivery], transaction: EffectTransaction) -> JSON:
        """Call the handler within its limits; past the hard one its database backend is terminated."""
        work = EffectWork(self._context, transaction, handler, max(delivery.run for delivery in deliveries))
        events = [delivery.event for delivery in deliveries]
        call = handler.function(events if handler.kind == "batch" else events[0], work)
        try:
            return await run_within(awaited(call), handler.soft_time_limit, handler.time_limit)
        except TimeLimitExceeded:
            if transaction.backend_pid is not None:
                async with AsyncSession(self._context.database.bookkeeping) as bookkeeping, bookkeeping.begin():
                    await bookkeeping.execute(TERMINATE, {"pid": transaction.backend_pid})
            raise

    async def _fail(self, delivery: Delivery, error: Exception, started_at: datetime) -> None:
        self._telemetry.failed(delivery, error, (at_ms(now_ms()) - started_at).total_seconds())
        if isinstance(error, SoftTimeLimitExceeded):
            await tidy_up(self._context, delivery, error)
        await self._settlement.failed(Attempt(delivery, started_at), error)


def _distinct(deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
    """Return one delivery of each event, and the repeats: one statement cannot claim a row twice.

    The one is the first of the highest `seq`: an older one would be rejected by the fence, and the newer one with it.
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
