"""Settling again and again while a database or broker is away: that only delays a settlement, it never loses one."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

from streams.delivery.context import PoolContext
from streams.delivery.gate import trouble
from streams.delivery.on_dead import told
from streams.observe.logs import get_logger
from streams.transport.record import ProduceError

log = get_logger(__name__)
PAUSE = 1.0
"""Seconds between two tries to settle while Kafka does not take the record."""


async def until_settled(context: PoolContext, settle: Callable[[], Awaitable[None]]) -> None:
    """Repeat until it went through: an absent database or broker only delays a settlement."""
    while True:
        await context.gate.passed()
        try:
            async with context.settling:
                await settle()
        except (ProduceError, TimeoutError) as error:
            log.warning("record not acknowledged, settling again", error=str(error) or type(error).__name__)
            await asyncio.sleep(PAUSE)
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
            return
