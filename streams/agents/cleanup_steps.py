"""Continues a clean-up after a step: with the next step, with a repetition later, or not at all."""

from datetime import UTC, datetime, timedelta

from schemas import Event
from schemas.event import new_event_id
from streams.delivery import Work
from streams.delivery.handler import JSON
from streams.dify.cleanup.delete import Step
from streams.dify.platform import Platform

REPEAT_AFTER = timedelta(minutes=15)
"""The time from the deletion to the repetition. No request to a store takes that long."""


async def publish_next_step(event: Event, work: Work, step: Step) -> JSON:
    """Publish the next step, or after the last step one repetition. Returns what this step has deleted.

    A store outside the database is cleaned up again 15 minutes after the deletion. A clean-up that ends later than that
    is not repeated.
    """
    due = event.occurred_at + REPEAT_AFTER
    if not step.done:
        # Later steps cannot find the tenant again, since its rows are deleted by then.
        following = {"event_id": new_event_id(), "tenant_id": step.scope.tenant_id}
        await work.publish(event.model_copy(update=following))
    elif not work.use(Platform).vectors.transactional and datetime.now(tz=UTC) < due:
        await work.publish(event.model_copy(update={"event_id": new_event_id()}), at=due)
    return {"done": step.done, "removed": {name: count for name, count in step.removed.items() if count}}
