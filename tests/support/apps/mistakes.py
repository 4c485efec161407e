"""Handlers with a programming error, and a long handler that loses its lease while it runs."""

from typing import Literal
from uuid import UUID

from sqlalchemy import text

from schemas import Event
from streams.delivery import Backoff, Work, handles
from streams.topics import Topic

ONCE = Backoff(first="1s", attempts=1, jitter=0)
LOSE_LEASE = text(
    "update streams.leases set token = gen_random_uuid(), until = clock_timestamp() where resource = :resource"
)
_lost: set[UUID] = set()
"""Events whose lease this process has taken away once. Their next attempt keeps its lease."""


class SingleMistakeMade(Event):
    """The event of `err-single`."""

    mistake: Literal["step", "service", "none"]


class LongMistakeMade(Event):
    """The event of `err-long`."""

    mistake: Literal["session", "service", "lose the lease and go on", "lose the lease and fail"]


class Missing:
    """A service that nothing provides."""


@handles(SingleMistakeMade, retry=ONCE)
async def err_single(event: SingleMistakeMade, work: Work) -> dict[str, str] | None:
    """Use `work` in a way that a single handler must not."""
    match event.mistake:
        case "step":
            async with work.step():
                return None
        case "service":
            work.use(Missing)
            return None
        case "none":
            return {"deadline": work.deadline.isoformat()}


@handles(LongMistakeMade, kind="long", retry=ONCE, resource=lambda event: f"mistake:{event.event_id}")
async def err_long(event: LongMistakeMade, work: Work) -> None:
    """Use `work` in a way that a long handler must not, or continue after the lease was lost."""
    if event.mistake == "session":
        await work.session.execute(text("select 1"))
    if event.mistake == "service":
        work.use(Missing)
    if event.event_id in _lost:
        return
    _lost.add(event.event_id)
    async with work.step() as session:
        await session.execute(LOSE_LEASE, {"resource": f"mistake:{event.event_id}"})
    if event.mistake == "lose the lease and fail":
        raise RuntimeError("it fails after its lease was lost")
    async with work.step():
        raise AssertionError("a step began without the lease")


TOPICS = (
    Topic("mistake.single-made", SingleMistakeMade, key="event_id", pool="default", partitions=1),
    Topic("mistake.long-made", LongMistakeMade, key="event_id", pool="low", partitions=1),
)
HANDLERS = (err_single, err_long)
