"""One event with two handlers, of which one may be paused, and another event whose statement ends its connection."""

from sqlalchemy import text

from schemas import Event
from streams.delivery import Backoff, Work, handles
from streams.topics import Topic

STEADY, PAUSED, CRASHING = "keep-steady", "be-paused", "end-connection"


class NeighbourRequested(Event):
    """A request for both handlers."""

    entity: str


class ConnectionEndRequested(Event):
    """A request whose handler ends its own connection to the database."""

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


@handles(ConnectionEndRequested, name=CRASHING, retry=Backoff(first="1s", attempts=3, jitter=0))
async def end_connection(event: ConnectionEndRequested, work: Work) -> None:  # noqa: ARG001 - any event
    """End the connection of the attempt."""
    await work.session.execute(text("select pg_terminate_backend(pg_backend_pid())"))


TOPICS = (
    Topic("neighbour.requested", NeighbourRequested, key="entity", pool="default"),
    Topic("connection-end.requested", ConnectionEndRequested, key="entity", pool="default"),
)
HANDLERS = (keep_steady, be_paused, end_connection)
