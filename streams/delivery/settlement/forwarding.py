"""Forwards records that were not attempted: to a DLQ, to another tier, or to tier zero."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from schemas import Event
from streams.delivery.dead_letter import DeadLetterInfo, UnreadableRecord, described
from streams.delivery.delivery import Delivery, now_ms, origin_of
from streams.delivery.errors import Reason
from streams.delivery.handler import Handler
from streams.delivery.ledger.settle import index_dead_letter, mark_dead
from streams.delivery.settlement.dead_letters.dead_letter import dead_letter_row
from streams.delivery.settlement.pending_send import PendingSend, Sender
from streams.delivery.settlement.records import OutgoingRecord, RetryState, moved_record, retry_record, unread_record
from streams.delivery.settlement.reduction import BARE, COMPLETE, REJECTIONS_UNTIL_REDUCED, Reduction
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settlement import Destinations
from streams.delivery.telemetry import Telemetry
from streams.headers import HANDLER, last_text
from streams.observability.error_text import ErrorText
from streams.transport.kafka.records import ProduceError, Record


class Forwarding:
    """Forwards records of one pool. Waits while the database or the brokers are unavailable."""

    def __init__(
        self,
        bookkeeping: AsyncEngine,
        sender: Sender,
        destinations: Destinations,
        telemetry: Telemetry,
        loop: SettleLoop,
    ) -> None:
        """Create the forwarding of one pool.

        Args:
            bookkeeping: The database, for the index of dead letters.
            sender: Produces the records.
            destinations: The retry tiers and DLQs.
            telemetry: Called after the records are acknowledged.
            loop: Repeats until that succeeds.
        """
        self._bookkeeping = bookkeeping
        self._sender = sender
        self._destinations = destinations
        self._telemetry = telemetry
        self._loop = loop

    async def unreadable(self, unreadable: UnreadableRecord) -> None:
        """Send an undeliverable record to the DLQ of its topic, byte for byte unless it has secret fields."""
        dead_letters, died_at, sending = self._destinations.dead_letters, now_ms(), PendingSend(self._sender)
        record, reason, error = unreadable.record, unreadable.reason, unreadable.error
        event_id, handler = unreadable.event_id, unreadable.handler
        info = DeadLetterInfo(
            reason, error, 0, died_at, died_at, dead_letters.group, handler=handler, event_id=event_id
        )
        if unreadable.bare:
            record.forget_headers()
        written = Reduction(BARE if unreadable.bare else COMPLETE)

        async def settle() -> None:
            placed = await sending.send(await dead_letters.record(unreadable.topic, record, info, written.form))
            async with self._loop.slots, AsyncSession(self._bookkeeping) as session, session.begin():
                await index_dead_letter(session, dead_letter_row(record, placed, info, unreadable.tenant_id))
                if event_id is not None and handler is not None and written.form.row:
                    await mark_dead(session, event_id, handler, reason, error.message)

        await self._loop.repeat(self.dead_letter_topic(unreadable), partial(written.run, settle), slot=False)
        self._telemetry.unreadable(unreadable, info)

    def dead_letter_topic(self, unreadable: UnreadableRecord) -> str:
        """Return the DLQ of an undeliverable record."""
        return self._destinations.dead_letters.topic(unreadable.topic)

    async def moved(self, record: Record, tier: str, delivery: Delivery | None = None, **changes: int) -> None:
        """Move a retry record to another tier. No attempt is counted.

        If Kafka rejects the copy for good, the record is dead-lettered.

        Args:
            record: The record of a tier.
            tier: The other tier's topic.
            delivery: The decoded record, if it was decoded.
            changes: Those of `moved_record`.
        """
        rejection = await self._send(tier, lambda: [moved_record(record, tier, **changes)])
        if rejection is None:
            return
        topic, handler = origin_of(record).topic, last_text(record.headers, HANDLER)
        dead = UnreadableRecord(record, topic, Reason.FATAL, rejection, handler=handler)
        await self.unreadable(dead if delivery is None else _undelivered(delivery, rejection))

    async def defer_unread(self, record: Record, handlers: Iterable[Handler[Event]], *, after: float) -> None:
        """Send a record that cannot be read now to tier zero, once per handler. No attempt is counted.

        As in `move_to_tier_zero`, no row is written.

        Args:
            record: The record of an event topic.
            handlers: The handlers of its topic.
            after: Seconds until it is read again.
        """
        tier, due_at = self._destinations.tiers.first, now_ms() + round(after * 1000)
        rejection = await self._send(tier, lambda: [unread_record(record, one.name, tier, due_at) for one in handlers])
        if rejection is not None:
            await self.unreadable(UnreadableRecord(record, record.topic, Reason.FATAL, rejection))

    async def move_to_tier_zero(self, deliveries: Sequence[Delivery]) -> None:
        """Move deliveries that were not attempted to tier zero. No attempt is counted.

        No row is written. A crash may leave two copies; the claim and the fence let only one of them run.
        """
        tier, now = self._destinations.tiers.first, now_ms()
        rejection = await self._send(
            tier, lambda: [retry_record(one, tier, RetryState(one.seq, one.attempts, now)) for one in deliveries]
        )
        if rejection is None:
            self._telemetry.moved_to_tier_zero(deliveries)
        elif len(deliveries) > 1:
            for delivery in deliveries:
                await self.move_to_tier_zero([delivery])
        else:
            await self.unreadable(_undelivered(deliveries[0], rejection))

    async def _send(self, tier: str, build: Callable[[], Sequence[OutgoingRecord]]) -> ErrorText | None:
        """Send records to a tier until each is acknowledged; or return why one of them can never be."""
        sendings: list[tuple[PendingSend, OutgoingRecord]] = []
        rejections: list[ErrorText] = []

        async def settle() -> None:
            try:
                if not sendings:
                    sendings.extend((PendingSend(self._sender), record) for record in build())
                await asyncio.gather(*(sending.send(record) for sending, record in sendings))
            except (ProduceError, TimeoutError) as error:
                if isinstance(error, ProduceError) and error.rejects_record:
                    rejections.append(described(error))
                if len(rejections) < REJECTIONS_UNTIL_REDUCED:
                    raise
            except Exception as error:  # noqa: BLE001 - a header that cannot be copied: the record is the cause
                rejections.extend([described(error)] * REJECTIONS_UNTIL_REDUCED)

        await self._loop.repeat(tier, settle, slot=False)
        return rejections[-1] if len(rejections) >= REJECTIONS_UNTIL_REDUCED else None


def _undelivered(delivery: Delivery, rejection: ErrorText) -> UnreadableRecord:
    """Return the dead letter of a delivery that was not attempted and cannot wait in a tier."""
    event, handler = delivery.event, delivery.handler.name
    return UnreadableRecord(
        delivery.record, delivery.topic.name, Reason.FATAL, rejection, event.event_id, event.tenant_id, handler
    )
