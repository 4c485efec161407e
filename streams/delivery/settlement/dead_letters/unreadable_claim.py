"""Dead-letters the claimed record of a long delivery that no version of the worker could read."""

from functools import partial

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.dead_letter import DeadLetterInfo, UnreadableRecord
from streams.delivery.delivery import now_ms
from streams.delivery.errors import Reason
from streams.delivery.execution.attempt import AttemptContext
from streams.delivery.execution.transaction import effect_session
from streams.delivery.ledger.lost_leases import LostDelivery, bury, claimed_record
from streams.delivery.ledger.settle import index_dead_letter
from streams.delivery.settlement.dead_letters.dead_letter import DeadLetters, dead_letter_row
from streams.delivery.settlement.pending_send import PendingSend, Sender
from streams.delivery.settlement.reduction import Reduction
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.settlement.settlement import TRANSACTION_TIMEOUT_FACTOR
from streams.delivery.telemetry import Telemetry
from streams.observability.error_text import ErrorText


class UnreadableClaims:
    """Dead-letters claimed records of one pool. Waits while the database or the brokers are unavailable."""

    def __init__(
        self,
        context: AttemptContext,
        sender: Sender,
        dead_letters: DeadLetters,
        telemetry: Telemetry,
        loop: SettleLoop,
    ) -> None:
        """Create it for one pool.

        Args:
            context: The pool's database.
            sender: Produces the dead letters.
            dead_letters: Builds them.
            telemetry: Called after the commit.
            loop: Repeats until that succeeds.
        """
        self._bookkeeping = context.database.bookkeeping
        self._sender = sender
        self._dead_letters = dead_letters
        self._telemetry = telemetry
        self._loop = loop

    async def dead_letter(self, lost: LostDelivery, row: RowMapping, reason: Reason, error: ErrorText) -> None:
        """End the row of a lost delivery as a failure, with a dead letter that can be replayed.

        Args:
            lost: The delivery.
            row: Its row, with the record.
            reason: Why it cannot run.
            error: What reading it failed with.
        """
        record, died_at, sending = claimed_record(row), now_ms(), PendingSend(self._sender)
        info = DeadLetterInfo(
            reason,
            error,
            row["attempts"],
            died_at,
            died_at,
            self._dead_letters.group,
            handler=lost.handler,
            event_id=lost.event_id,
            replays=row["replays"],
        )
        settled: list[bool] = []
        written = Reduction()

        async def settle() -> None:
            seconds = self._sender.timeout * TRANSACTION_TIMEOUT_FACTOR
            async with effect_session(self._bookkeeping, seconds) as session:
                settled[:] = [await self._settle(session, lost, row["resource"], info)]
                if settled[0]:
                    dead = await self._dead_letters.record(lost.topic, record, info, written.form)
                    placed = await sending.send(dead)
                    await index_dead_letter(session, dead_letter_row(record, placed, info, row["tenant_id"]))

        await self._loop.repeat(self._dead_letters.topic(lost.topic), partial(written.run, settle))
        if settled[0]:
            unreadable = UnreadableRecord(
                record, lost.topic, reason, error, lost.event_id, row["tenant_id"], lost.handler
            )
            self._telemetry.unreadable(unreadable, info)

    async def _settle(self, session: AsyncSession, lost: LostDelivery, resource: str, info: DeadLetterInfo) -> bool:
        line = f"{info.error.type_name}: {info.error.message}"
        return await bury(session, lost, resource, info.reason, line)
