"""Cancelling an execution that waits for its next attempt: it ends as a failure, and its record dies at the fence."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from schemas.event import event_time
from streams.codec import Codec
from streams.delivery.context import Services
from streams.delivery.errors import CancelledError
from streams.delivery.execution.standalone_work import StandaloneWork
from streams.delivery.handler import Handler
from streams.delivery.settlement.on_dead import told
from streams.observability.logs import get_logger
from streams.publishing.outbox.outbox import Outbox
from streams.publishing.outbox.withdraw import withdraw

log = get_logger(__name__)
REASON = "cancelled"
"""In the ledger only: what was cancelled has no dead letter, so it cannot be replayed."""

LOCK = text(
    """
    select handler, tenant_id, status, attempts, args from streams.executions
    where day = :day and event_id = :event_id and (cast(:handler as text) is null or handler = :handler)
    order by handler for update
    """
)
END = text(
    """
    update streams.executions set status = 'failure', seq = seq + 1, reason = :reason, error = :error, due_at = null,
        completed_at = clock_timestamp(), history = history || cast(:entry as jsonb)
    where day = :day and event_id = :event_id and handler = :handler
    """
)


class CancelRefusedError(Exception):
    """Nothing of it waits; the message is one line that says what is."""


async def cancel(  # noqa: PLR0913, PLR0917 - what is cancelled, and what `on_dead` needs
    session: AsyncSession,
    codec: Codec,
    services: Services,
    handlers: Mapping[str, Handler[Event]],
    event_id: UUID,
    handler: str | None,
) -> list[str]:
    """End what waits of an event, in the caller's transaction; returns the handlers, or the topic of its outbox row.

    A business status is rolled back by `on_dead`, as by any other death. Raises CancelRefusedError.
    """
    made_at = event_time(event_id)
    identity = {"event_id": event_id, "day": None if made_at is None else made_at.date()}
    rows = (await session.execute(LOCK, {**identity, "handler": handler})).mappings().all()
    waiting = [row for row in rows if row["status"] == "retry"]
    if rows and not waiting:
        states = ", ".join(f"{row['handler']} is {row['status']}" for row in rows)
        raise CancelRefusedError(f"nothing of event {event_id} waits: {states}")
    if not rows:
        unsent = [] if handler else await withdraw(session, [event_id])
        if not unsent:
            raise CancelRefusedError(f"the ledger has no execution of event {event_id}, nor has the outbox")
        return [one.topic for one in unsent]
    for row in waiting:
        note = await _roll_back(session, codec, services, handlers.get(row["handler"]), event_id, row)
        now = datetime.now(tz=UTC).isoformat()
        entry = {"attempt": row["attempts"], "started_at": now, "completed_at": now, "outcome": REASON}
        await session.execute(
            END,
            {**identity, "handler": row["handler"], "reason": REASON, "error": note, "entry": json.dumps([entry])},
        )
    return [row["handler"] for row in waiting]


async def _roll_back(  # noqa: PLR0913, PLR0917 - what `on_dead` needs
    session: AsyncSession,
    codec: Codec,
    services: Services,
    handler: Handler[Event] | None,
    event_id: UUID,
    row: RowMapping,
) -> str:
    """Call `on_dead` in a savepoint; returns what the row says as its error."""
    note = "cancelled by an operator"
    if handler is None or handler.on_dead is None:
        return note
    work = StandaloneWork(
        handler, publish=Outbox(session, codec).publish, services=services, session=session, attempt=row["attempts"]
    )
    try:
        event = handler.event.model_validate({**row["args"], "event_id": event_id, "tenant_id": row["tenant_id"]})
        # The ledger has its marked fields masked, so there is nothing here that could be told.
        async with session.begin_nested():
            await handler.on_dead(event, work, CancelledError(note))
    except Exception as error:
        log.exception("on_dead failed", handler=handler.name)
        return f"{note} (on_dead failed: {told(error).message})"
    return note
