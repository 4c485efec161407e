"""A clean-up in a store outside the database is done once more, later."""

from datetime import UTC, datetime, timedelta

from schemas import Event
from schemas.event import new_event_id
from streams.delivery import Work
from streams.dify.platform import Platform

AGAIN_AFTER = timedelta(minutes=15)
"""After the deletion. Longer than any request to a store can be under way, so what it writes late goes too."""


async def clean_again(event: Event, work: Work, platform: Platform) -> None:
    """Ask for the same clean-up once more; one that runs so late itself is the last."""
    due = event.occurred_at + AGAIN_AFTER
    if not platform.vectors.transactional and datetime.now(tz=UTC) < due:
        await work.publish(event.model_copy(update={"event_id": new_event_id()}), at=due)
