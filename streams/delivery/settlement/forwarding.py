"""Sends records on that were not attempted: to a DLQ, to another tier, or out of a partition's window."""

import asyncio
from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from schemas import Event
from streams.delivery.dead_letter import DeadLetterInfo, UnreadableRecord
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.handler import Handler
from streams.delivery.ledger import settle as settle_module
from streams.delivery.settlement.dead_letter import dead_letter_row
from streams.delivery.settlement.pending_send import PendingSend, Sender
from streams.delivery.settlement.records import OutgoingRecord, RetryState, moved_record, retry_record, unread_record
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settlement import Destinations
from streams.delivery.telemetry import Telemetry
from streams.transport.kafka.records import Record


class Forwarding:
    """Sends records of one pool on; waits while database or brokers are away."""

    def __init__(
        self,
        bookkeeping: AsyncEngine,
        sender: Sender,
        destinations: Destinations,
        telemetry: Telemetry,
        loop: SettleLoop,
    ) -> None:
        """Take what forwarding needs.

        Args:
            bookkeeping: The database, for the index of dead letters.
            sender: Produces the records.
            destinations: The topics of these records.
            telemetry: Called when the records are where they belong.
            loop: Repeats until that succeeds.
        """
        self._bookkeeping = bookkeeping
        self._sender = sender
        self._destinations = destinations
        self._telemetry = telemetry
        self._loop = loop

    async def unreadable(self, unreadable: UnreadableRecord) -> None:
        """Send a record that no handler can be given to the DLQ of its topic, bytes untouched unless it has secrets."""
        dead_letters, died_at, sending = self._destinations.dead_letters, now_ms(), PendingSend(self._sender)
        record, reason, error = unreadable.record, unreadable.reason, unreadable.error
        event_id, handler = unreadable.event_id, unreadable.handler
        info = DeadLetterInfo(
            reason, error, 0, died_at, died_at, dead_letters.group, handler=handler, event_id=event_id
        )

        async def settle() -> None:
            placed = await sending.placed(dead_letters.record(unreadable.topic, record, info))
            async with AsyncSession(self._bookkeeping) as session, session.begin():
                await settle_module.index_dead_letter(
                    session, dead_letter_row(record, placed, info, unreadable.tenant_id)
                )
                if event_id is not None and handler is not None:
                    await settle_module.bury(session, event_id, handler, reason, error.message)

        await self._loop.until_settled(settle)
        self._telemetry.unreadable(unreadable)

    async def moved(self, record: Record, tier: str, **changes: int) -> None:
        """Put a waiting record into another tier, uncounted; `changes` as in `moved_record`."""
        await self._send([moved_record(record, tier, **changes)])

    async def put_off(self, record: Record, handlers: Iterable[Handler[Event]], *, after: float) -> None:
        """Hand an event topic's record that cannot be read now to the tier of delay zero, for each handler, uncounted.

        As in `set_aside`, no row is written.

        Args:
            record: What came.
            handlers: Those of its topic.
            after: Seconds until it is read again.
        """
        tier, due_at = self._destinations.tiers.first, now_ms() + round(after * 1000)
        await self._send([unread_record(record, one.name, tier, due_at) for one in handlers])

    async def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries that were not attempted to the tier of delay zero, uncounted.

        No row is written: the fence and the claim let one of two copies run, should a crash leave both.
        """
        tier, now = self._destinations.tiers.first, now_ms()
        await self._send([retry_record(one, tier, RetryState(one.seq, one.attempts, now)) for one in deliveries])
        self._telemetry.set_aside(deliveries)

    async def _send(self, records: Sequence[OutgoingRecord]) -> None:
        """Send these records until each is acknowledged."""
        sendings = [(PendingSend(self._sender), record) for record in records]

        async def settle() -> None:
            await asyncio.gather(*(sending.placed(record) for sending, record in sendings))

        await self._loop.until_settled(settle)
