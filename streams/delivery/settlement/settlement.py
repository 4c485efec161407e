"""Settles attempts that did not succeed: one transaction that locks, sends the record, updates the row and commits.

`decision` decides the outcome, `records` and `dead_letter` build records and values, `telemetry` reports after the
commit.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.dead_letter import described
from streams.delivery.delivery import Delivery, at_ms, now_ms
from streams.delivery.errors import DayDroppedError, ExpiredError
from streams.delivery.execution.attempt import AttemptContext
from streams.delivery.execution.transaction import effect_session
from streams.delivery.ledger import leases
from streams.delivery.ledger.settle import index_dead_letter, lock_execution, settle, was_settled
from streams.delivery.scheduling.retry_tiers import RetryTiers
from streams.delivery.settlement.dead_letters.dead_letter import DeadLetters, dead_letter_info, dead_letter_row
from streams.delivery.settlement.dead_letters.on_dead import OnDead, OnDeadCutOffError
from streams.delivery.settlement.decision import (
    Outcome,
    after_deferral,
    after_engine_failure,
    after_expiry,
    after_failure,
    after_lost_lease,
    after_process_deaths,
)
from streams.delivery.settlement.pending_send import PendingSend, Sender
from streams.delivery.settlement.records import attempt_entry, retry_record, retry_state, settled_values
from streams.delivery.settlement.reduction import BARE, COMPLETE, Form, Reduction
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settling import Attempt, Settling, lock_lease, moved_on, without_run
from streams.delivery.telemetry import Telemetry
from streams.headers import CE_EXPIRYTIME, last_text
from streams.observability.logs import get_logger

log = get_logger(__name__)
TRANSACTION_TIMEOUT_FACTOR = 4
"""Time limit of a settlement's transaction, as a multiple of the sender's timeout."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where the failed records of one pool go: its retry tiers and the DLQs."""

    tiers: RetryTiers
    dead_letters: DeadLetters


class Settlement:
    """Settles and acknowledges deliveries of one pool. Waits while the database or the brokers are unavailable."""

    def __init__(
        self,
        attempts: AttemptContext,
        sender: Sender,
        destinations: Destinations,
        telemetry: Telemetry,
        loop: SettleLoop,
    ) -> None:
        """Create the settlement of one pool.

        Args:
            attempts: The pool's dependencies, also for `on_dead`.
            sender: Produces the records. Its timeout is also the time limit of `on_dead`.
            destinations: The retry tiers and DLQs.
            telemetry: Called after each commit.
            loop: Repeats a settlement until it succeeds.
        """
        self._bookkeeping = attempts.database.bookkeeping
        self._worker_identity = attempts.worker_identity
        self._sender = sender
        self._tiers = destinations.tiers
        self._dead_letters = destinations.dead_letters
        self._telemetry = telemetry
        self._loop = loop
        self._spans = attempts.spans
        self._on_dead = OnDead(attempts, sender.timeout)

    async def failed(self, attempt: Attempt, error: BaseException) -> None:
        """Settle a failed attempt as the retry policy says: another attempt later, or a dead letter."""
        now, spread = now_ms(), random.random()  # noqa: S311 - jitter
        await self._end(
            attempt, after_failure(attempt.delivery, error, described(error), now=now, spread=spread), error
        )

    async def deferred(self, attempt: Attempt, why: str, *, after: float) -> None:
        """Move a delivery to a retry tier, to run after `after` seconds. No attempt is counted."""
        await self._end(attempt, after_deferral(attempt.delivery, why, after=after, now=now_ms()))

    async def deferred_without_run(self, delivery: Delivery, why: str, *, after: float) -> None:
        """Defer a delivery that was not attempted; see `deferred`."""
        await self.deferred(without_run(delivery), why, after=after)

    async def deferred_all(self, deliveries: Iterable[Delivery], why: str, *, after: float) -> None:
        """Defer deliveries whose run does not count, one after the other; see `deferred`."""
        for delivery in deliveries:
            await self.deferred_without_run(delivery, why, after=after)

    async def released(self, attempt: Attempt, why: str) -> None:
        """Release a cancelled delivery to another worker at once. No attempt is counted.

        It takes at most the sender's timeout. If it fails, the lease expires and the sweep settles the delivery.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._sender.timeout):
                await self.deferred(attempt, why, after=0.0)

    async def crashed(self, attempt: Attempt, lost_before: int) -> None:
        """Settle an attempt whose lease expired; `lost_before` is the number of leases lost before this one."""
        await self._end(attempt, after_lost_lease(attempt.delivery, lost_before, now=now_ms()))

    async def expired(self, delivery: Delivery) -> None:
        """Dead-letter a delivery whose event expired before an attempt could start."""
        expires_at = last_text(delivery.record.headers, CE_EXPIRYTIME)
        error = ExpiredError(f"the event expired at {expires_at}, before an attempt could start")
        await self._end(without_run(delivery), after_expiry(delivery, described(error), now=now_ms()), error)

    async def expired_all(self, deliveries: Iterable[Delivery]) -> None:
        """Dead-letter expired deliveries, one after the other; see `expired`."""
        for delivery in deliveries:
            await self.expired(delivery)

    async def killed(self, delivery: Delivery, deaths: int) -> None:
        """Dead-letter a delivery that crashed its process in each run.

        Args:
            delivery: What is dead-lettered.
            deaths: Crashes while it was dead-lettered. After one, nothing of the record is read any more.
        """
        if deaths:
            delivery.record.forget_headers()
        form = BARE if deaths else COMPLETE
        await self._end(without_run(delivery), after_process_deaths(delivery, now=now_ms()), form=form)

    async def broken(self, deliveries: Iterable[Delivery], error: BaseException) -> None:
        """Dead-letter deliveries for which the engine itself failed. Claimed ones are left to their leases."""
        for delivery in deliveries:
            if delivery.pending is not None and not delivery.revoked:
                outcome = after_engine_failure(delivery, described(error), now=now_ms())
                await self._end(without_run(delivery), outcome, error)

    async def _end(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None = None, form: Form = COMPLETE
    ) -> None:
        """Settle until it succeeds, report, acknowledge."""
        delivery = attempt.delivery
        settling = Settling(attempt, outcome, error, PendingSend(self._sender), Reduction(form))
        if self._spans is not None:
            ended, error_type = outcome.told, None if outcome.error is None else outcome.error.type_name
            attempt.span.end(ended, error_type)
            settling.span = self._spans.settle(delivery, attempt.span, error_type)
        if form is BARE:
            settling.on_dead_failure = "it was not called, since the process may crash in it"

        async def settle() -> None:
            """Try once, and again with less of the record where that was rejected."""
            while True:
                try:
                    with settling.span.current():
                        settled = await self._settle(settling)
                except OnDeadCutOffError as cut_off:  # the transaction is lost
                    log.exception("on_dead was cut off", fault="handler")
                    settling.on_dead_failure = str(cut_off)
                except Exception as rejection:  # noqa: BLE001 - raised again unless less can be written
                    settling.reduce(rejection)
                else:
                    break
            settling.span.end(settling.outcome.told if settled else "stale")
            if settled:
                self._report(settling)

        await self._loop.settle(delivery, self._target(delivery, outcome), settle)

    def _target(self, delivery: Delivery, outcome: Outcome) -> str:
        """Return the topic of the outcome's record. A later try may need a shorter tier, as less time remains."""
        if outcome.is_dead:
            return self._dead_letters.topic(delivery.topic.name)
        return self._tiers.topic_for(((outcome.due_at or 0) - now_ms()) / 1000)

    async def _settle(self, settling: Settling) -> bool:
        """Try once; False: the delivery has moved on."""
        try:
            return await self._settle_row(settling)
        except DayDroppedError as dropped:
            return await self._settle_without_row(settling, dropped)

    async def _settle_row(self, settling: Settling) -> bool:
        """Try once: lock, check whether the delivery has moved on, send, update, commit; False: it has moved on."""
        attempt, outcome, worker = settling.attempt, settling.outcome, self._worker_identity.worker
        async with effect_session(self._bookkeeping, self._sender.timeout * TRANSACTION_TIMEOUT_FACTOR) as session:
            held = await lock_lease(session, attempt, outcome)
            if not held and not settling.may_be_committed:
                log.info("lease is lost; its new holder settles the delivery")
                return False
            if not settling.written.form.row:
                await self._send_dead_letter(session, settling)
                return True
            identity, args = self._worker_identity, settling.written.form.args
            row = await lock_execution(session, attempt.delivery, identity, attempt.started_at, with_args=args)
            if settling.may_be_committed:
                entry = attempt_entry(attempt.delivery, outcome, attempt.started_at, worker)
                if await was_settled(session, attempt.delivery, entry):
                    return True
            if not held or moved_on(row, attempt) or (outcome.lost and not row["expired"]):
                log.info("delivery has moved on already", status=row["status"], seq=row["seq"])
                return False
            note = (
                await self._send_dead_letter(session, settling) if outcome.is_dead else await self._send_retry(settling)
            )
            values = settled_values(attempt.delivery, outcome, attempt.started_at, worker, note)
            await settle(session, values)
            if attempt.lease is not None:
                await leases.release_lease(session, attempt.lease)
            settling.may_be_committed = True
        return True

    async def _settle_without_row(self, settling: Settling, dropped: DayDroppedError) -> bool:
        """Dead-letter a delivery that waited until its day of the ledger was dropped; return True."""
        settling.error = error = ExpiredError(str(dropped))
        if not settling.outcome.is_dead:
            settling.record = PendingSend(self._sender)
        settling.outcome = after_expiry(settling.attempt.delivery, described(error), now=now_ms())
        async with effect_session(self._bookkeeping, self._sender.timeout * TRANSACTION_TIMEOUT_FACTOR) as session:
            await self._send_dead_letter(session, settling)
        return True

    async def _send_retry(self, settling: Settling) -> str | None:
        """Send the retry record to the longest tier that fits; return the error for the row."""
        delivery, outcome = settling.attempt.delivery, settling.outcome
        state = retry_state(delivery, outcome, settling.attempt.span)
        tier = self._tiers.topic_for((state.due_at - now_ms()) / 1000)
        settling.placed = await settling.record.send(retry_record(delivery, tier, state))
        return outcome.error_line

    async def _send_dead_letter(self, session: AsyncSession, settling: Settling) -> str | None:
        """Call `on_dead`, send the dead letter, index it; return the error for the row."""
        delivery, outcome, note = settling.attempt.delivery, settling.outcome, settling.outcome.error_line
        info = dead_letter_info(delivery, outcome, self._dead_letters.group, settling.span)
        failure = settling.on_dead_failure
        if failure is None and settling.written.form.row:
            failure = await self._on_dead.call(session, delivery, settling.error or RuntimeError(info.error.message))
        if failure:
            note = f"{note} (on_dead failed: {failure})"
        topic, record = delivery.topic.name, delivery.record
        settling.placed = await settling.record.send(
            await self._dead_letters.record(topic, record, info, settling.written.form)
        )
        await index_dead_letter(session, dead_letter_row(record, settling.placed, info, delivery.event.tenant_id))
        return note

    def _report(self, settling: Settling) -> None:
        """Log and count what is committed."""
        delivery, outcome = settling.attempt.delivery, settling.outcome
        self._telemetry.settled(delivery, time.perf_counter() - settling.began)
        if outcome.is_dead:
            info = dead_letter_info(delivery, outcome, self._dead_letters.group)
            self._telemetry.died(delivery, info)
        elif outcome.history_outcome == "deferred":
            self._telemetry.deferred(delivery, outcome.why)
        elif outcome.history_outcome == "retry" and settling.placed is not None and outcome.due_at is not None:
            self._telemetry.retried(delivery, settling.placed.topic, at_ms(outcome.due_at))
