"""One event with two handlers, of which one may be paused."""

from sqlalchemy import text

from schemas import Event
from streams.delivery import Work, handles
from streams.topics import Topic

STEADY, PAUSED = "keep-steady", "be-paused"


class NeighbourRequested(Event):
    """A request for both handlers."""

    entity: str


@handles(NeighbourRequested, name=STEADY)
async def keep_steady(event: NeighbourRequested, work: Work) -> str:
    """Ask the database once."""
    await work.session.execute(text("select 1"))
    return event.entity


@handles(NeighbourRequested, name=PAUSED)
async def be_paused(event: NeighbourRequested, work: Work) -> str:
    """Ask the database once."""
    await work.session.execute(text("select 1"))
    return event.entity


TOPICS = (Topic("neighbour.requested", NeighbourRequested, key="entity", pool="default"),)
HANDLERS = (keep_steady, be_paused)
