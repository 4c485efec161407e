"""Repeats settlements during outages of the database or the brokers, so that none is lost."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine

from sqlalchemy.exc import SQLAlchemyError

from streams.delivery.admission.database_gate import database_error_kind
from streams.delivery.delivery import Delivery
from streams.delivery.execution.attempt import Availability
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.transport.kafka.records import ProduceError

log = get_logger(__name__)
KAFKA = "kafka"
"""The dependency's name, as `streams breakers` shows it."""
PAUSE = 1.0
"""Seconds between two tries while Kafka does not acknowledge the record."""


Settle = Callable[[], Awaitable[None]]
InBackground = Callable[[Delivery, Coroutine[object, object, None]], None]
"""Runs the rest of a delivery's settlement in the background."""


class SettleLoop:
    """Repeats settlements of one pool until they succeed. Runs on the event loop."""

    def __init__(
        self, availability: Availability, slots: asyncio.Semaphore, background: InBackground | None = None
    ) -> None:
        """Create the loop of one pool.

        Args:
            availability: Settlements wait while the database is unavailable, and report whether Kafka answers.
            slots: Limits the concurrent settlements of the pool, across all loops.
            background: Runs the rest of a settlement whose record was not acknowledged; None: the caller waits.
        """
        self._availability = availability
        self.slots = slots
        """Each holds a connection to the database."""
        self._background = background
        self._rejecting: set[str] = set()
        """Topics whose last record was not acknowledged."""
        self._locks: dict[str, asyncio.Lock] = {}

    async def settle(self, delivery: Delivery, target: str, settle: Settle) -> None:
        """Settle a delivery and acknowledge it. Continue in the background while Kafka does not answer.

        Args:
            delivery: Its offset is acknowledged after the settlement.
            target: The topic of its record: a DLQ or a tier.
            settle: One try.
        """

        async def resume() -> None:
            await self._until_accepted(target, settle)
            delivery.acknowledge()

        if await self._is_accepted(target, settle):
            delivery.acknowledge()
        elif self._background is None:
            await resume()
        else:
            self._background(delivery, resume())

    async def repeat(self, target: str, settle: Settle, *, slot: bool = True) -> None:
        """Repeat a settlement until it succeeds.

        Args:
            target: The topic of its record: a DLQ or a tier.
            settle: One try.
            slot: Whether a try holds a settlement slot. False: it uses the database only within `slots`.
        """
        if not await self._is_accepted(target, settle, slot=slot):
            await self._until_accepted(target, settle, slot=slot)

    async def _is_accepted(self, target: str, settle: Settle, *, slot: bool = True) -> bool:
        """Try once, unless the target accepts no records now."""
        return target not in self._rejecting and await self._try(settle, slot=slot)

    async def _until_accepted(self, target: str, settle: Settle, *, slot: bool = True) -> None:
        """Repeat until a try succeeds, one record of the target at a time, so that other targets get the slots."""
        self._rejecting.add(target)
        lock = self._locks.setdefault(target, asyncio.Lock())
        while True:
            async with lock:
                if target in self._rejecting:
                    if await self._try(settle, slot=slot):
                        self._rejecting.discard(target)
                        return
                    await asyncio.sleep(PAUSE)
                    continue
            if await self._try(settle, slot=slot):
                return
            self._rejecting.add(target)

    async def _try(self, settle: Settle, *, slot: bool = True) -> bool:
        """Settle, and wait while the database is unavailable; False: Kafka did not acknowledge the record."""
        gate, breakers = self._availability.gate, self._availability.breakers
        while True:
            await gate.wait_until_open()
            try:
                async with self.slots if slot else contextlib.nullcontext():
                    await settle()
            except (ProduceError, TimeoutError) as error:
                log.warning("record not acknowledged; settling again", error=str(error) or type(error).__name__)
                if not (isinstance(error, ProduceError) and error.rejects_record):
                    breakers.report(KAFKA, str(error) or "no acknowledgement in time")
                return False
            except SQLAlchemyError as error:
                kind = database_error_kind(error)
                if kind is None:
                    log.exception("the database rejects a settlement; settling again")
                    return False
                if kind != "outage" or not await gate.confirm(error):
                    log.warning("database error while settling; retrying", error=message(error))
                    await asyncio.sleep(PAUSE)
            except Exception:
                # Nothing that is left of the record can be written. It waits, since the process must not end for it.
                log.exception("settlement failed; settling again")
                return False
            else:
                breakers.report(KAFKA, None)
                return True
