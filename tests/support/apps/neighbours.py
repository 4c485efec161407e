"""Two handlers of one topic, and a handler whose statement ends its own database connection, in one pool."""

from sqlalchemy import text

from schemas import Event
from streams.delivery import Backoff, Work, handles
from streams.topics import Topic


class StepRequested(Event):
    """A small piece of work, for `steady` and for `second`."""

    number: int


class CrashRequested(Event):
    """Work whose statement ends its own connection."""

    number: int


@handles(StepRequested)
async def steady(event: StepRequested, work: Work) -> None:
    """Run a small statement."""
    await work.session.execute(text("select :number"), {"number": event.number})


@handles(StepRequested)
async def second(event: StepRequested, work: Work) -> None:
    """Run a small statement."""
    await work.session.execute(text("select :number"), {"number": event.number})


@handles(CrashRequested, retry=Backoff(first="1s", attempts=2, jitter=0))
async def crash(_event: CrashRequested, work: Work) -> None:
    """End the own connection, as a query does that crashes its backend."""
    await work.session.execute(text("select pg_terminate_backend(pg_backend_pid())"))


TOPICS = (
    Topic("step.requested", StepRequested, key="number", pool="default"),
    Topic("crash.requested", CrashRequested, key="number", pool="default"),
)
HANDLERS = (steady, second, crash)
