"""Events whose decoding or handling does what no honest one does."""

import asyncio
import sys
from typing import Annotated

from pydantic import field_validator

from schemas import Event, Personal
from streams.delivery import Backoff, Work, handles
from streams.topics import Topic


class PoisonSent(Event):
    """The handler does what `kind` says. An id that starts with "raise" makes the class's validator raise."""

    poison_id: str
    blob: bytes
    kind: str = "good"
    number: float = 0.0
    name: Annotated[str, Personal] = ""

    @field_validator("poison_id")
    @classmethod
    def check_id(cls, value: str) -> str:
        """Raise what pydantic does not wrap."""
        if value.startswith("raise"):
            raise TypeError(f"what is {value}?")
        return value


class LongPoisonSent(PoisonSent):
    """The event of a long handler."""


async def exit_now() -> None:
    """End the process, as a script would."""
    sys.exit(3)


async def take(event: PoisonSent) -> None:
    """Do what the event says."""
    match event.kind:
        case "exit":
            sys.exit(3)
        case "interrupt":
            await asyncio.sleep(0)
            raise KeyboardInterrupt
        case "close":
            raise GeneratorExit
        case "task":
            await asyncio.create_task(exit_now())
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(exit_now())
        case "thread":
            await asyncio.to_thread(sys.exit, 3)
        case "fail":
            raise ValueError("it fails")


@handles(PoisonSent, retry=Backoff(attempts=1))
async def take_poison(event: PoisonSent, _work: Work) -> None:
    """Run in one transaction."""
    await take(event)


@handles(LongPoisonSent, kind="long", retry=Backoff(attempts=1), resource=lambda event: f"poison:{event.poison_id}")
async def take_long_poison(event: LongPoisonSent, _work: Work) -> None:
    """Run under a lease."""
    await take(event)


TOPICS = (
    Topic("poison.sent", PoisonSent, key="poison_id", pool="default"),
    Topic("poison.long-sent", LongPoisonSent, key="poison_id", pool="low"),
)
HANDLERS = (take_poison, take_long_poison)
