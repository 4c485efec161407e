"""Forwards records that were not attempted: to a DLQ, to another tier, or to tier zero."""

import asyncio
from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from schemas import Event
from streams.delivery.dead_letter import DeadLetterInfo, UnreadableRecord
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.handler import Handler
from streams.delivery.ledger.settle import index_dead_letter, mark_dead
from streams.delivery.settlement.dead_letter import dead_letter_row
from streams.delivery.settlement.pending_send import PendingSend, Sender
from streams.delivery.settlement.records import OutgoingRecord, RetryState, moved_record, retry_record, unread_record
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settlement import Destinations
from streams.delivery.telemetry import Telemetry
from streams.transport.kafka.records import Record


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

        async def settle() -> None:
            placed = await sending.send(dead_letters.record(unreadable.topic, record, info))
            async with self._loop.slots, AsyncSession(self._bookkeeping) as session, session.begin():
                await index_dead_letter(session, dead_letter_row(record, placed, info, unreadable.tenant_id))
                if event_id is not None and handler is not None:
                    await mark_dead(session, event_id, handler, reason, error.message)

        await self._loop.forward(self.dead_letter_topic(unreadable), settle)
        self._telemetry.unreadable(unreadable)

    def dead_letter_topic(self, unreadable: UnreadableRecord) -> str:
        """Return the DLQ of an undeliverable record."""
        return self._destinations.dead_letters.topic(unreadable.topic)

    async def moved(self, record: Record, tier: str, **changes: int) -> None:
        """Move a retry record to another tier. No attempt is counted; `changes` are those of `moved_record`."""
        await self._send(tier, [moved_record(record, tier, **changes)])

    async def defer_unread(self, record: Record, handlers: Iterable[Handler[Event]], *, after: float) -> None:
        """Send a record that cannot be read now to tier zero, once per handler. No attempt is counted.

        As in `move_to_tier_zero`, no row is written.

        Args:
            record: The record of an event topic.
            handlers: The handlers of its topic.
            after: Seconds until it is read again.
        """
        tier, due_at = self._destinations.tiers.first, now_ms() + round(after * 1000)
        await self._send(tier, [unread_record(record, one.name, tier, due_at) for one in handlers])

    async def move_to_tier_zero(self, deliveries: Sequence[Delivery]) -> None:
        """Move deliveries that were not attempted to tier zero. No attempt is counted.

        No row is written. A crash may leave two copies; the claim and the fence let only one of them run.
        """
        tier, now = self._destinations.tiers.first, now_ms()
        await self._send(tier, [retry_record(one, tier, RetryState(one.seq, one.attempts, now)) for one in deliveries])
        self._telemetry.moved_to_tier_zero(deliveries)

    async def _send(self, tier: str, records: Sequence[OutgoingRecord]) -> None:
        """Send records to a tier until each is acknowledged."""
        sendings = [(PendingSend(self._sender), record) for record in records]

        async def settle() -> None:
            await asyncio.gather(*(sending.send(record) for sending, record in sendings))

        await self._loop.forward(tier, settle)
