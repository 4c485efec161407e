"""How a failed attempt ends: one transaction that hands the record to a retry tier or the DLQ, and notes it."""

import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.context import PoolContext
from streams.delivery.delivery import Delivery, at_ms, now_ms
from streams.delivery.errors import ExpiredError, Reason
from streams.delivery.execution.transaction import effect_session
from streams.delivery.ledger import columns, leases
from streams.delivery.ledger import settle as settle_module
from streams.delivery.scheduling.retry_tiers import Again, decide, tier_for
from streams.delivery.settlement.dead_value import dead_value
from streams.delivery.settlement.on_dead import OnDeadCutOffError, roll_back, told
from streams.delivery.settlement.pending_send import PendingSend
from streams.delivery.settlement.records import (
    DeadLetterInfo,
    dead_record,
    history_entry,
    read_history,
    retry_record,
)
from streams.delivery.settlement.settle_loop import RefusedTargets, try_to_settle
from streams.delivery.telemetry import report_death, report_deferred, report_retry
from streams.headers import CE_EXPIRYTIME, last_text
from streams.observability.error_text import ErrorText
from streams.observability.logs import get_logger

log = get_logger(__name__)
SETTLING_TIMES = 4
"""Times the `settle_timeout` that the transaction of a settlement may take: its statements, `on_dead`, the record."""
TIERS = "tiers"
"""All tiers of the pool, as one target of records."""
CRASHES_UNTIL_DEATH = 3
"""Lost leases after which a long delivery is taken for what kills its workers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a delivery: the row's next state and the record that carries it on."""

    status: str
    seq: int
    attempts: int
    outcome: str
    error: ErrorText | None
    due_at: int | None = None
    reason: Reason | None = None
    lost: int = 0
    cut_off: str | None = None
    """Why `on_dead` was not waited for; it is not called again."""
    ended_at: int = field(default_factory=now_ms)
    """When the attempt ended, ms since the epoch; settling it may take longer."""


Beside = Callable[[Delivery, Coroutine[object, object, None]], None]


class Settlement:
    """Settles deliveries of one pool, and acknowledges them; waits out absent databases and brokers, loses none."""

    def __init__(self, context: PoolContext, beside: Beside | None = None) -> None:
        """`beside` runs what is left of a settlement while Kafka does not take its record; None: it is waited for."""
        self._context = context
        self._beside = beside
        self._refused = RefusedTargets(context)

    async def failed(
        self, delivery: Delivery, error: BaseException, started_at: datetime, lease: leases.Lease | None = None
    ) -> None:
        """End a failed attempt by its policy: another attempt at its time, or death."""
        now = now_ms()
        verdict = decide(delivery.handler, delivery.run, error, now, random.random())  # noqa: S311 - jitter
        ending = Outcome("failure", delivery.seq + 1, delivery.run, "failure", told(error), ended_at=now)
        if isinstance(verdict, Again):
            ending = replace(ending, status="retry", outcome="retry", due_at=verdict.due_at)
        else:
            ending = replace(ending, reason=verdict.reason)
        await self._end(delivery, ending, error, started_at, lease)

    async def deferred(
        self,
        delivery: Delivery,
        why: str,
        *,
        after: float,
        started_at: datetime | None = None,
        lease: leases.Lease | None = None,
    ) -> None:
        """Hand the delivery on to be run in `after` seconds; no attempt is counted."""
        ending = Outcome(
            "retry", delivery.seq + 1, delivery.attempts, "deferred", None, due_at=now_ms() + round(after * 1000)
        )
        await self._end(delivery, ending, None, started_at or at_ms(now_ms()), lease)
        report_deferred(self._context.group, delivery, why)

    async def deferred_all(self, deliveries: Iterable[Delivery], why: str, *, after: float) -> None:
        """As `deferred`, one after the other."""
        for delivery in deliveries:
            await self.deferred(delivery, why, after=after)

    async def crashed(self, delivery: Delivery, lease: leases.Lease, started_at: datetime, lost_before: int) -> None:
        """End an attempt whose worker let its lease run out: run it again at once, or take it for deadly."""
        lost = lost_before + 1
        text = ErrorText(
            type_name="LeaseLost",
            message=f"the worker that ran it went away ({lost} of {CRASHES_UNTIL_DEATH})",
            stack="",
        )
        if lost < CRASHES_UNTIL_DEATH:
            ending = Outcome("retry", delivery.seq + 1, delivery.run, "crashed", text, due_at=now_ms(), lost=1)
        else:
            ending = Outcome("failure", delivery.seq + 1, delivery.run, "crashed", text, reason=Reason.CRASHED, lost=1)
        await self._end(delivery, ending, None, started_at, lease)

    async def expired(self, delivery: Delivery) -> None:
        """End a delivery whose event expired before an attempt could begin."""
        expires_at = last_text(delivery.record.headers, CE_EXPIRYTIME)
        error = ExpiredError(f"it expired at {expires_at}, before an attempt could begin")
        ending = Outcome("failure", delivery.seq + 1, delivery.attempts, "expired", told(error), reason=Reason.EXPIRED)
        await self._end(delivery, ending, error, at_ms(now_ms()), None)

    async def expired_all(self, deliveries: Iterable[Delivery]) -> None:
        """As `expired`, one after the other."""
        for delivery in deliveries:
            await self.expired(delivery)

    async def killed(self, delivery: Delivery) -> None:
        """End a delivery that killed its process whenever it ran."""
        text = ErrorText("ProcessKilled", "its worker's process ended each time that it ran", "")
        ending = Outcome("failure", delivery.seq + 1, delivery.run, "crashed", text, reason=Reason.CRASHED)
        await self._end(delivery, ending, None, at_ms(now_ms()), None)

    async def _end(
        self,
        delivery: Delivery,
        ending: Outcome,
        error: BaseException | None,
        started_at: datetime,
        lease: leases.Lease | None,
    ) -> None:
        """Settle and acknowledge. While Kafka does not take the record the rest is done beside other work."""
        handover = PendingSend(self._context)
        target = TIERS if ending.status == "retry" else self._context.catalogue.dlq(delivery.topic.name)

        async def settle() -> None:
            """An `on_dead` that was cut off took the transaction with it, so the death is settled without it."""
            nonlocal ending
            try:
                await self._settle(delivery, ending, error, started_at, lease, handover)
            except OnDeadCutOffError as cut_off:
                log.exception("on_dead was cut off")
                ending = replace(ending, cut_off=str(cut_off))
                await self._settle(delivery, ending, error, started_at, lease, handover)

        async def go_on() -> None:
            await self._refused.until_settled(target, settle)
            delivery.acknowledge()

        if await try_to_settle(self._context, settle):
            delivery.acknowledge()
        elif self._beside is None:
            await go_on()
        else:
            self._beside(delivery, go_on())

    async def _settle(  # noqa: PLR0913, PLR0917 - what is settled, and how its record travels
        self,
        delivery: Delivery,
        ending: Outcome,
        error: BaseException | None,
        started_at: datetime,
        lease: leases.Lease | None,
        handover: PendingSend,
    ) -> None:
        """Lock, look whether it has moved on, produce, note, commit. The offset follows."""
        async with effect_session(
            self._context.database.bookkeeping, self._context.settings.settle_timeout * SETTLING_TIMES
        ) as session:
            if lease is not None and not ending.lost and not await leases.hold_lease(session, lease):
                log.info("lease is lost, its new holder settles the delivery")
                return
            if lease is not None and ending.lost:
                await leases.drop_expired_lease(session, lease)
            row = await settle_module.lock_execution(session, delivery, self._context.place, started_at)
            if moved_on(row, delivery, lease) or (ending.lost and not row["expired"]):
                log.info("delivery has moved on already", status=row["status"], seq=row["seq"])
                return
            note = None if ending.error is None else f"{ending.error.type_name}: {ending.error.message}"
            if ending.status == "failure":
                note = await self._die(session, delivery, ending, error, note, handover)
            else:
                await self._hand_over(delivery, ending, handover)
            await session.execute(
                settle_module.SETTLE,
                {
                    **columns.identity(delivery),
                    "status": ending.status,
                    "seq": ending.seq,
                    "attempts": ending.attempts,
                    "error": columns.storable(note),
                    "history_limit": settle_module.HISTORY_LIMIT,
                    "reason": ending.reason,
                    "due_at": None if ending.due_at is None else at_ms(ending.due_at),
                    "started_at": started_at,
                    "worker": self._context.place.worker,
                    "lost": ending.lost,
                    "entry": settle_module.attempt_entry(
                        delivery.run,
                        (started_at, at_ms(ending.ended_at)),
                        ending.outcome,
                        columns.storable(note),
                        self._context.place.worker,
                    ),
                },
            )
            if lease is not None:
                await leases.drop_lease(session, lease)

    async def _hand_over(self, delivery: Delivery, ending: Outcome, handover: PendingSend) -> None:
        """Produce the retry record to the longest tier that fits."""
        due_at = ending.due_at if ending.due_at is not None else now_ms()
        delay = tier_for((due_at - now_ms()) / 1000, self._context.settings.retry_delays)
        tier = self._context.catalogue.tier(self._context.pool.name, delay)
        history = read_history(delivery.record.headers)
        if ending.error is not None:
            history.append(history_entry(delivery.run, now_ms(), f"{ending.error.type_name}: {ending.error.message}"))
        first_failed_at = delivery.first_failed_at
        if first_failed_at is None and ending.error is not None:
            first_failed_at = now_ms()
        await handover.placed(
            retry_record(
                delivery,
                topic=tier,
                seq=ending.seq,
                attempts=ending.attempts,
                due_at=due_at,
                first_failed_at=first_failed_at,
                history=history,
            )
        )
        if ending.outcome == "retry":
            report_retry(self._context.group, delivery, tier, at_ms(due_at))

    async def _die(  # noqa: PLR0913, PLR0917 - as `_settle`
        self,
        session: AsyncSession,
        delivery: Delivery,
        ending: Outcome,
        error: BaseException | None,
        note: str | None,
        handover: PendingSend,
    ) -> str | None:
        """Produce the dead letter, index it, roll the business status back; returns the error as noted."""
        text = ending.error or ErrorText("", "", "")
        reason = ending.reason or Reason.EXHAUSTED
        death = DeadLetterInfo(
            reason=reason,
            error=text,
            attempts=ending.attempts,
            first_failed_at=delivery.first_failed_at or now_ms(),
            died_at=now_ms(),
            group=self._context.group,
            handler=delivery.handler.name,
            event_id=delivery.event.event_id,
            replays=delivery.replays,
        )
        if broken := ending.cut_off or await roll_back(
            self._context, session, delivery, error or RuntimeError(text.message)
        ):
            note = f"{note} (on_dead failed: {broken})"
        dlq = self._context.catalogue.dlq(delivery.topic.name)
        kept = dead_value(self._context.codec, delivery.topic.name, delivery.record)
        placed = await handover.placed(dead_record(delivery.record, dlq, death, kept))
        await session.execute(
            settle_module.INSERT_DEAD_LETTER,
            settle_module.dead_letter_row(delivery.record, placed, death, delivery.event.tenant_id),
        )
        report_death(self._context.group, delivery, reason, text)
        return note


def moved_on(row: RowMapping, delivery: Delivery, lease: leases.Lease | None) -> bool:
    """Whether the row says that this attempt's outcome no longer counts."""
    if row["status"] in settle_module.FINAL or row["seq"] > delivery.seq:
        return True
    if lease is None:
        return bool(row["status"] == "started")
    return bool(row["lease_token"] != lease.token)
