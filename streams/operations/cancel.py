"""Cancels executions that wait for their next attempt. They end as failures; the fence rejects their records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from schemas.event import event_time
from streams.codec import Codec
from streams.database.operator_note import NOTED
from streams.delivery.context import Services
from streams.delivery.dead_letter import described
from streams.delivery.errors import CancelledError
from streams.delivery.execution.standalone_work import StandaloneWork
from streams.delivery.handler import Handler
from streams.observability.logs import get_logger
from streams.publishing.outbox.outbox import Outbox
from streams.publishing.outbox.withdraw import withdraw

log = get_logger(__name__)
REASON = "cancelled"
"""The reason in the ledger. A cancelled delivery has no dead letter, so it cannot be replayed."""

LOCK = text(
    """
    select handler, tenant_id, status, attempts, args from streams.executions
    where day = :day and event_id = :event_id and (cast(:handler as text) is null or handler = :handler)
    order by handler for update
    """
)
END = text(
    f"""
    update streams.executions set status = 'failure', seq = seq + 1, reason = :reason, error = :error, due_at = null,
        completed_at = clock_timestamp(),
        history = history || jsonb_build_array(
            cast(:entry as jsonb)
            || jsonb_build_object('by', {NOTED})
        )
    where day = :day and event_id = :event_id and handler = :handler
    """  # noqa: S608 - a constant
)


class CancelRefusedError(Exception):
    """No delivery of the event waits. The message is one line with their states."""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Cancels waiting deliveries. Its fields are what their `on_dead` needs."""

    codec: Codec
    services: Services
    handlers: Mapping[str, Handler[Event]]
    """By name."""

    async def cancel(self, session: AsyncSession, event_id: UUID, handler: str | None, *, by: str) -> list[str]:
        """Cancel the waiting deliveries of an event, and call `on_dead` as for a dead letter.

        Args:
            session: The caller's transaction.
            event_id: The id of the event.
            handler: The name of one handler; None: all whose delivery waits.
            by: Who cancels them, and how; the history notes it with the database's role.

        Returns:
            The names of the handlers; if there is no execution, the topics of the withdrawn outbox rows.

        Raises:
            CancelRefusedError: No delivery of the event waits.
        """
        made_at = event_time(event_id)
        identity = {"event_id": event_id, "day": None if made_at is None else made_at.date()}
        rows = (await session.execute(LOCK, {**identity, "handler": handler})).mappings().all()
        waiting = [row for row in rows if row["status"] == "retry"]
        if rows and not waiting:
            states = ", ".join(f"{row['handler']} is {row['status']}" for row in rows)
            raise CancelRefusedError(f"no delivery of event {event_id} waits: {states}")
        if not rows:
            unsent = [] if handler else await withdraw(session, [event_id])
            if not unsent:
                raise CancelRefusedError(
                    f"event {event_id} has no execution in the ledger and no unsent row in the outbox"
                )
            return [one.topic for one in unsent]
        for row in waiting:
            note = await self._roll_back(session, event_id, row)
            now = datetime.now(tz=UTC).isoformat()
            entry = {"attempt": row["attempts"], "started_at": now, "completed_at": now, "outcome": REASON}
            await session.execute(
                END,
                {
                    **identity,
                    "handler": row["handler"],
                    "reason": REASON,
                    "error": note,
                    "entry": json.dumps(entry),
                    "by": by,
                },
            )
        return [row["handler"] for row in waiting]

    async def _roll_back(self, session: AsyncSession, event_id: UUID, row: RowMapping) -> str:
        """Call `on_dead` in a savepoint; return the error for the row."""
        note, handler = "cancelled by an operator", self.handlers.get(row["handler"])
        if handler is None or handler.on_dead is None:
            return note
        publish = Outbox(session, self.codec).publish
        work = StandaloneWork(
            handler, publish=publish, services=self.services, session=session, attempt=row["attempts"]
        )
        try:
            event = handler.event.model_validate({**row["args"], "event_id": event_id, "tenant_id": row["tenant_id"]})
            # The marked fields are masked in the ledger, so the error cannot contain their values.
            async with session.begin_nested():
                await handler.on_dead(event, work, CancelledError(note))
        except Exception as error:
            log.exception("on_dead failed", handler=handler.name)
            return f"{note} (on_dead failed: {described(error).message})"
        return note
