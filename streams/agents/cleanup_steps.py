"""How a clean-up goes on after a step: with the next one, once more later, or not at all."""

from datetime import UTC, datetime, timedelta

from schemas import Event
from schemas.event import new_event_id
from streams.delivery import Work
from streams.delivery.handler import JSON
from streams.dify.cleanup.delete import Step
from streams.dify.platform import Platform

AGAIN_AFTER = timedelta(minutes=15)
"""After the deletion. Longer than any request to a store can be under way, so what it writes late goes too."""


async def go_on(event: Event, work: Work, step: Step) -> JSON:
    """Ask for the next step, or after the last one for the same clean-up once more; says what this one has removed.

    A store outside the database is cleaned once more, 15 minutes after the deletion; a clean-up that late is the last.
    """
    due = event.occurred_at + AGAIN_AFTER
    if not step.done:
        # What was found out about the tenant would not be found again once the rows that said it are gone.
        following = {"event_id": new_event_id(), "tenant_id": step.scope.tenant_id}
        await work.publish(event.model_copy(update=following))
    elif not work.use(Platform).vectors.transactional and datetime.now(tz=UTC) < due:
        await work.publish(event.model_copy(update={"event_id": new_event_id()}), at=due)
    return {"done": step.done, "removed": {name: count for name, count in step.removed.items() if count}}
