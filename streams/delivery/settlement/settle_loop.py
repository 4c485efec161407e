"""Settles again and again while a database or broker is away: an outage delays a settlement, it never loses one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from sqlalchemy.exc import SQLAlchemyError

from streams.delivery.admission.database_gate import trouble
from streams.delivery.delivery import Delivery
from streams.delivery.execution.attempt import Availability
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.transport.kafka.records import ProduceError

log = get_logger(__name__)
KAFKA = "kafka"
"""The dependency's name, as `streams breakers` shows it."""
PAUSE = 1.0
"""Seconds between two tries to settle while Kafka does not take the record."""


Settle = Callable[[], Awaitable[None]]
InBackground = Callable[[Delivery, Coroutine[object, object, None]], None]
"""Runs what is left of a delivery's settlement in the background."""


class SettleLoop:
    """Repeats settlements of one pool until they succeed. Lives on the event loop."""

    def __init__(
        self, availability: Availability, at_once: asyncio.Semaphore, background: InBackground | None = None
    ) -> None:
        """Take what bounds the settlements of a pool.

        Args:
            availability: Settlements wait while the database is away, and report whether Kafka takes records.
            at_once: Settlements of the pool at once, those of other loops included.
            background: Runs the rest of a settlement whose record Kafka does not take; None: the caller waits.
        """
        self._availability = availability
        self._at_once = at_once
        self._background = background
        self._refused: set[str] = set()
        """Targets (a DLQ, or the tiers) whose records were not taken."""
        self._turns: dict[str, asyncio.Lock] = {}

    async def settle(self, delivery: Delivery, target: str, settle: Settle) -> None:
        """Settle a delivery and acknowledge it. While Kafka does not take its record, go on in the background.

        Args:
            delivery: Its offset follows the settlement.
            target: Where its record goes: a DLQ, or the tiers.
            settle: One try.
        """

        async def go_on() -> None:
            await self._until_taken(target, settle)
            delivery.acknowledge()

        if await self._try(settle):
            delivery.acknowledge()
        elif self._background is None:
            await go_on()
        else:
            self._background(delivery, go_on())

    async def until_settled(self, settle: Settle) -> None:
        """Repeat until a try succeeds."""
        while not await self._try(settle):  # noqa: ASYNC110 - each round is a try, not a look
            await asyncio.sleep(PAUSE)

    async def _until_taken(self, target: str, settle: Settle) -> None:
        """As `until_settled`, one settlement of the target at a time: the others hold up no settlement elsewhere."""
        self._refused.add(target)
        turn = self._turns.setdefault(target, asyncio.Lock())
        while True:
            async with turn:
                if target in self._refused:
                    if await self._try(settle):
                        self._refused.discard(target)
                        return
                    await asyncio.sleep(PAUSE)
                    continue
            if await self._try(settle):
                return
            self._refused.add(target)

    async def _try(self, settle: Settle) -> bool:
        """Settle, and wait while the database is away; False: Kafka did not take the record."""
        gate, breakers = self._availability.gate, self._availability.breakers
        while True:
            await gate.passed()
            try:
                async with self._at_once:
                    await settle()
            except (ProduceError, TimeoutError) as error:
                log.warning("record not acknowledged, settling again", error=str(error) or type(error).__name__)
                breakers.tell(KAFKA, str(error) or "no acknowledgement in time")
                return False
            except SQLAlchemyError as error:
                kind = trouble(error)
                if kind is None:
                    raise
                if kind == "outage":
                    gate.trip(error)
                else:
                    log.warning("database error while settling; retrying", error=message(error))
                    await asyncio.sleep(PAUSE)
            else:
                breakers.tell(KAFKA, None)
                return True
