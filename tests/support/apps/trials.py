"""Events that decide how their handlers behave. Each effect is a row of the table `trials`."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Literal

from sqlalchemy import text

from schemas import Event
from streams.delivery import Backoff, Permanent, Retry, Work, handles
from streams.delivery.errors import Reason
from streams.observability.logs import get_logger
from streams.topics import Topic

log = get_logger(__name__)

Plan = Literal["succeed", "fail", "permanent", "ask", "sleep", "swallow", "compute", "kill", "end", "null", "log"]
QUICK = Backoff(first="1s", factor=2, attempts=3, jitter=0)
TABLE = """
    create table trials (
        id serial primary key, event_id uuid, entity text, handler text, attempt int, batch int,
        at timestamptz default clock_timestamp()
    )
"""
INSERT = text(
    "insert into trials (event_id, entity, handler, attempt, batch) values (:event_id, :entity, :handler, :attempt, :n)"
)


class Trial(Event):
    """The behaviour of the handler: `plan` on the first `times` attempts, then success. 0 times: on every attempt."""

    entity: str
    plan: Plan = "succeed"
    times: int = 0
    seconds: float = 0.0
    padding: str = ""
    """Text that makes the event large."""


class SingleTrialRequested(Trial):
    """The event of `try-single`."""


class BatchTrialRequested(Trial):
    """The event of `try-batch`."""


class LongTrialRequested(Trial):
    """The event of `try-long`."""


async def note(event: Trial, work: Work, handler: str, batch: int = 1) -> None:
    """Write the effect."""
    await work.session.execute(
        INSERT,
        {
            "event_id": event.event_id,
            "entity": event.entity,
            "handler": handler,
            "attempt": work.attempt,
            "n": batch,
        },
    )


async def note_death(event: Trial, work: Work, error: BaseException) -> None:
    """Write an effect in `on_dead`."""
    if event.entity == "broken-on-dead":
        raise ValueError("on_dead broke")
    await note(event, work, f"dead: {type(error).__name__}")


async def note_limit(event: Trial, work: Work, error: BaseException) -> None:
    """Write an effect in `on_soft_limit`."""
    await note(event, work, f"limit: {type(error).__name__}")


async def behave(event: Trial, work: Work) -> None:  # noqa: C901, PLR0912 - one case a plan
    """Behave as the event says."""
    if event.times and work.attempt > event.times:
        return
    match event.plan:
        case "fail":
            raise ValueError(f"attempt {work.attempt} fails")
        case "log":
            log.warning("the trial permits nothing")
        case "permanent":
            raise Permanent("the trial is impossible")
        case "ask":
            raise Retry("later, please", after=event.seconds, reason=Reason.ROW_STILL_EXISTS)
        case "sleep":
            await asyncio.sleep(event.seconds)
        case "swallow":
            until = time.monotonic() + event.seconds
            while time.monotonic() < until:
                try:
                    await asyncio.sleep(until - time.monotonic())
                except asyncio.CancelledError:
                    continue
        case "compute":
            await work.compute(spin, event.seconds)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "end":
            asyncio.get_running_loop().call_soon(sys.exit, 3)
            await asyncio.sleep(60)
        case "succeed" | "null":
            return


def spin(seconds: float) -> None:
    """Use the CPU without awaiting."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@handles(
    SingleTrialRequested,
    retry=QUICK,
    soft_time_limit="1s",
    time_limit="2s",
    on_dead=note_death,
    on_soft_limit=note_limit,
)
async def try_single(event: SingleTrialRequested, work: Work) -> dict[str, int] | None:
    """Write the effect in one transaction per event."""
    await note(event, work, "try-single")
    await behave(event, work)
    return {"attempt": work.attempt} if event.plan != "succeed" else None


@handles(BatchTrialRequested, kind="batch", retry=QUICK, batch_size=64, on_dead=note_death)
async def try_batch(events: Sequence[BatchTrialRequested], work: Work) -> None:
    """Write the effects of several events in one transaction."""
    for event in events:
        await note(event, work, "try-batch", len(events))
    for event in events:
        await behave(event, work)


@handles(
    LongTrialRequested,
    kind="long",
    retry=QUICK,
    soft_time_limit="20s",
    time_limit="30s",
    resource=lambda event: f"trial:{event.entity}",
    on_dead=note_death,
)
async def try_long(event: LongTrialRequested, work: Work) -> None:
    """Run a first step, the behaviour outside a transaction, and a final step that writes the effect."""
    async with work.step():
        await note(event, work, "try-long: began")
    await behave(event, work)
    async with work.step(final=True):
        await note(event, work, "try-long")


TOPICS = (
    Topic("trial.single-requested", SingleTrialRequested, key="entity", pool="default"),
    Topic("trial.batch-requested", BatchTrialRequested, key="entity", pool="high"),
    Topic("trial.long-requested", LongTrialRequested, key="entity", pool="low"),
)
HANDLERS = (try_single, try_batch, try_long)
