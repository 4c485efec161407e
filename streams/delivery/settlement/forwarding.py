"""Records that go on as they are, without an attempt: to a DLQ, to another tier, aside."""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams.delivery.context import PoolContext
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.errors import Reason
from streams.delivery.handler import Handler
from streams.delivery.ledger import settle as settle_module
from streams.delivery.settlement.dead_value import dead_value
from streams.delivery.settlement.pending_send import PendingSend
from streams.delivery.settlement.records import DeadLetterInfo, dead_record, moved_record, retry_record, unread_record
from streams.delivery.settlement.settle_loop import until_settled
from streams.delivery.telemetry import report_set_aside, report_unreadable
from streams.observability.error_text import ErrorText
from streams.transport.kafka.records import Record


class Forwarding:
    """Sends records of one pool on; waits out absent databases and brokers."""

    def __init__(self, context: PoolContext) -> None:
        self._context = context

    async def unreadable(  # noqa: PLR0913 - what the dead letter says
        self,
        record: Record,
        topic: str,
        reason: Reason,
        error: ErrorText,
        *,
        event_id: UUID | None = None,
        tenant_id: str | None = None,
        handler: str | None = None,
    ) -> None:
        """Send a record that no handler can be given to the DLQ of its topic, bytes untouched unless it has secrets."""
        died_at, handover = now_ms(), PendingSend(self._context)
        death = DeadLetterInfo(
            reason, error, 0, died_at, died_at, self._context.group, handler=handler, event_id=event_id
        )

        async def settle() -> None:
            kept = dead_value(self._context.codec, topic, record)
            outgoing = dead_record(record, self._context.catalogue.dlq(topic), death, kept)
            placed = await handover.placed(outgoing)
            async with AsyncSession(self._context.database.bookkeeping) as session, session.begin():
                await session.execute(
                    settle_module.INSERT_DEAD_LETTER, settle_module.dead_letter_row(record, placed, death, tenant_id)
                )
                if event_id is not None and handler is not None:
                    await settle_module.bury(session, event_id, handler, reason, error.message)

        await until_settled(self._context, settle)
        report_unreadable(topic, handler, reason, error)

    async def moved(self, record: Record, tier: str, **changes: int) -> None:
        """Put a waiting record into another tier, uncounted."""
        handover = PendingSend(self._context)

        async def settle() -> None:
            await handover.placed(moved_record(record, tier, **changes))

        await until_settled(self._context, settle)

    async def put_off(self, record: Record, handlers: Iterable[Handler[Event]], *, after: float) -> None:
        """Hand an event topic's record that cannot be read now to the tier of delay zero, for each handler, uncounted.

        As `set_aside`, no row is written. `after` in seconds.
        """
        tier, due_at = self._context.catalogue.tier(self._context.pool.name, 0.0), now_ms() + round(after * 1000)
        ways = [(PendingSend(self._context), unread_record(record, one.name, tier, due_at)) for one in handlers]

        async def settle() -> None:
            await asyncio.gather(*(handover.placed(outgoing) for handover, outgoing in ways))

        await until_settled(self._context, settle)

    async def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries that were not attempted to the tier of delay zero, uncounted.

        No row is written: the fence and the claim let one of two copies run, should a crash leave both.
        """
        tier = self._context.catalogue.tier(self._context.pool.name, 0.0)
        ways = [
            (
                PendingSend(self._context),
                retry_record(
                    one,
                    topic=tier,
                    seq=one.seq,
                    attempts=one.attempts,
                    due_at=now_ms(),
                    first_failed_at=None,
                    history=[],
                ),
            )
            for one in deliveries
        ]

        async def settle() -> None:
            await asyncio.gather(*(handover.placed(outgoing) for handover, outgoing in ways))

        await until_settled(self._context, settle)
        report_set_aside(self._context.group, deliveries)
