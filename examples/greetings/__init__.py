"""An event and its handler, in a separate package."""

from schemas import Event
from streams.delivery import Backoff, Permanent, Work, handles
from streams.topics import Topic


class GreetingRequested(Event):
    """A request for a greeting."""

    name: str


@handles(GreetingRequested, retry=Backoff(first="1s", factor=2, attempts=3))
async def greet(event: GreetingRequested, work: Work) -> str:
    """Return a greeting. The ledger stores it. SQL goes through `work.session`, in the same transaction."""
    if not event.name:
        raise Permanent("the name is empty")
    return f"Hello, {event.name}, at attempt {work.attempt}!"


TOPICS = (Topic("greeting.requested", GreetingRequested, key="name", pool="high"),)
HANDLERS = (greet,)
