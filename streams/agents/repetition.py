"""Repeats a deletion later, for what was still under way when it ran."""

from datetime import UTC, datetime, timedelta

from schemas import Event
from schemas.event import new_event_id
from streams.delivery import Work

REPEAT_AFTER = timedelta(minutes=15)
"""The time from a deletion to its repetition. No request to a store, no answer and no run takes that long."""


async def publish_repetition(event: Event, work: Work) -> None:
    """Publish the event again, due `REPEAT_AFTER` after it occurred. If that time has passed, nothing is repeated."""
    due = event.occurred_at + REPEAT_AFTER
    if datetime.now(tz=UTC) < due:
        await work.publish(event.model_copy(update={"event_id": new_event_id()}), at=due)
