"""Continues a scheduled run: a step of long work publishes the event of the next step."""

from sqlalchemy import text

from schemas import Event
from streams.delivery import Work

FOLLOW = text(
    """
    update streams.slots
    set event_id = :following, status = 'started', started_at = coalesce(started_at, clock_timestamp())
    where event_id = :event
    """
)


async def continue_run(work: Work, event: Event, following: Event) -> None:
    """Publish the event of the next step. The run of the slot then lasts until that event is settled.

    An event that no schedule has published, but a person, is continued in the same way.

    Args:
        work: The delivery of this step, with a session.
        event: The event of this step.
        following: The event of the next one, of the same class, with an id of its own.
    """
    await work.session.execute(FOLLOW, {"following": following.event_id, "event": event.event_id})
    await work.publish(following)
