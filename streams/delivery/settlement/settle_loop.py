"""Settling again and again while a database or broker is away: that only delays a settlement, it never loses one."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

from streams.delivery.admission.database_gate import trouble
from streams.delivery.context import PoolContext
from streams.delivery.settlement.on_dead import told
from streams.observability.logs import get_logger
from streams.transport.kafka.records import ProduceError

log = get_logger(__name__)
KAFKA = "kafka"
"""The dependency's name, as `streams breakers` shows it."""
PAUSE = 1.0
"""Seconds between two tries to settle while Kafka does not take the record."""


Settle = Callable[[], Awaitable[None]]


async def until_settled(context: PoolContext, settle: Settle) -> None:
    """Repeat until it went through: an absent database or broker only delays a settlement."""
    while not await try_to_settle(context, settle):  # noqa: ASYNC110 - each round is a try, not a look
        await asyncio.sleep(PAUSE)


async def try_to_settle(context: PoolContext, settle: Settle) -> bool:
    """Settle, waiting out an absent database; False: Kafka did not take the record."""
    while True:
        await context.gate.passed()
        try:
            async with context.settling:
                await settle()
        except (ProduceError, TimeoutError) as error:
            log.warning("record not acknowledged, settling again", error=str(error) or type(error).__name__)
            context.breakers.tell(KAFKA, str(error) or "no acknowledgement in time")
            return False
        except SQLAlchemyError as error:
            kind = trouble(error)
            if kind is None:
                raise
            if kind == "outage":
                context.gate.trip(error)
            else:
                log.warning("the database was in the way, settling again", error=told(error).message)
                await asyncio.sleep(PAUSE)
        else:
            context.breakers.tell(KAFKA, None)
            return True


class RefusedTargets:
    """Where records were not taken: one settlement at a time tries, so that it holds up no settlement elsewhere."""

    def __init__(self, context: PoolContext) -> None:
        self._context = context
        self._refused: set[str] = set()
        self._turns: dict[str, asyncio.Lock] = {}

    async def until_settled(self, target: str, settle: Settle) -> None:
        """As `until_settled`, after Kafka did not take a record for this target (a DLQ, or the tiers)."""
        self._refused.add(target)
        turn = self._turns.setdefault(target, asyncio.Lock())
        while True:
            async with turn:
                if target in self._refused:
                    if await try_to_settle(self._context, settle):
                        self._refused.discard(target)
                        return
                    await asyncio.sleep(PAUSE)
                    continue
            if await try_to_settle(self._context, settle):
                return
            self._refused.add(target)
