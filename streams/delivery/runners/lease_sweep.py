"""Settles long deliveries whose lease expired: each is retried, or dead-lettered after three lost leases."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams import headers
from streams.codec import DecodeError, PayloadElsewhereError
from streams.codec.claim_check import TicketError
from streams.delivery.dead_letter import described
from streams.delivery.delivery import Delivery, header_number
from streams.delivery.errors import Reason
from streams.delivery.execution.attempt import AttemptContext
from streams.delivery.handler import Handler
from streams.delivery.ledger import leases
from streams.delivery.ledger.lost_leases import (
    PAGE,
    LostDelivery,
    claimed_record,
    find_lost,
    find_unknown,
    read_claimed,
)
from streams.delivery.settlement.dead_letters.unreadable_claim import UnreadableClaims
from streams.delivery.settlement.decision import CRASHES_UNTIL_DEATH
from streams.delivery.settlement.settlement import Settlement
from streams.delivery.settlement.settling import Attempt
from streams.observability.error_text import ErrorText, message
from streams.observability.logs import delivery_context, get_logger
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.storage import FileMissingError, StorageAwayError
from streams.topics import Catalogue, UnknownEventError

log = get_logger(__name__)
TIERS = "tiers"
"""The target of all retries, whatever their tier is."""
CONCURRENT = 4
"""Settlements for one target (the tiers, or a DLQ) at the same time. While a target accepts nothing, others go on."""
LATER = 60.0
"""Seconds until a delivery that could not be read or settled is tried again."""
LATER_LIMIT = 10_000
"""Maximum number of deliveries that a sweep remembers for later. It tries the others in each run."""

Key = tuple[object, ...]
Start = Callable[[Coroutine[object, object, None]], None]


@dataclass(frozen=True, slots=True)
class Settling:
    """A settlement in progress: where its record goes, and its end."""

    target: str
    done: asyncio.Future[None]


class LeaseSweep:
    """Settles the lost deliveries of one pool. Several workers may sweep at once; row locks decide."""

    def __init__(  # noqa: PLR0913 - one argument per dependency
        self,
        context: AttemptContext,
        catalogue: Catalogue,
        handlers: Mapping[str, Handler[Event]],
        settlement: Settlement,
        unreadable: UnreadableClaims,
        *,
        start: Start,
        patience: float,
    ) -> None:
        """Create the sweep of one pool.

        Args:
            context: The pool's database, worker and codec.
            catalogue: The topics that claimed records came from.
            handlers: By name, the handlers of every pool.
            settlement: Settles lost deliveries.
            unreadable: Settles those that no version could read.
            start: Runs a settlement in the background.
            patience: Seconds that a run waits for settlements; they then continue in the background.
        """
        self._context = context
        self._catalogue = catalogue
        self._handlers = handlers
        pool = context.worker_identity.pool
        self._own = [name for name, handler in handlers.items() if catalogue.of(handler.event).pool == pool]
        self._settlement = settlement
        self._unreadable = unreadable
        self._start = start
        self._patience = patience
        self._settling: dict[Key, Settling] = {}
        self._later: dict[Key, float] = {}
        """Deliveries that are not tried before a time of `time.monotonic`."""

    async def run(self) -> int:
        """Look at every lost delivery once, and settle them in the background; return how many were begun.

        What cannot be settled now does not stop the others: a later run tries it again.
        """
        now = time.monotonic()
        self._later = {key: at for key, at in self._later.items() if at > now}
        begun: list[asyncio.Future[None]] = []
        full: set[str] = set()
        async for lost in self._find():
            key, target = _key(lost), self._target(lost)
            if key in self._settling or key in self._later or target in full:
                continue
            if not await self._has_room(target):
                log.warning("lost deliveries wait; their records are not accepted", target=target)
                full.add(target)
                continue
            begun.append(self._begin(lost))
        if begun:
            await asyncio.wait(begun, timeout=self._patience)
        return len(begun)

    async def _find(self) -> AsyncIterator[LostDelivery]:
        """Return every lost delivery of this pool, page by page, with no connection in use between the pages."""
        pool = self._context.worker_identity.pool
        for find in (
            partial(find_lost, handlers=self._own),
            partial(find_unknown, pool=pool, handlers=list(self._handlers)),
        ):
            after: LostDelivery | None = None
            while True:
                async with AsyncSession(self._context.database.bookkeeping) as session:
                    page = await find(session, after=after)
                for lost in page:
                    yield lost
                if len(page) < PAGE:
                    break
                after = page[-1]

    async def _has_room(self, target: str) -> bool:
        """Wait a moment until the target has fewer than `CONCURRENT` settlements; False: none of them ended."""
        busy = [one.done for one in self._settling.values() if one.target == target]
        if len(busy) < CONCURRENT:
            return True
        ended, _ = await asyncio.wait(busy, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        return bool(ended)

    def _target(self, lost: LostDelivery) -> str:
        """Return where the record of a lost delivery goes: the tiers, or the DLQ of its topic."""
        last = lost.lost_leases + 1 >= CRASHES_UNTIL_DEATH
        return lost.topic if last or lost.overdue or lost.handler not in self._handlers else TIERS

    def _begin(self, lost: LostDelivery) -> "asyncio.Future[None]":
        key, done = _key(lost), asyncio.get_running_loop().create_future()
        self._settling[key] = Settling(self._target(lost), done)

        async def settle() -> None:
            try:
                await self._settle(lost)
            except SQLAlchemyError as error:
                log.warning("cannot settle a lost delivery", event_id=str(lost.event_id), error=message(error))
            except Exception:
                log.exception("cannot settle a lost delivery", event_id=str(lost.event_id), handler=lost.handler)
                self._postpone(key)
            finally:
                del self._settling[key]
                done.set_result(None)

        self._start(settle())
        return done

    def _postpone(self, key: Key, seconds: float = LATER) -> None:
        if len(self._later) < LATER_LIMIT:
            self._later[key] = time.monotonic() + seconds

    def _resume(self, key: Key) -> None:
        self._later.pop(key, None)

    async def _settle(self, lost: LostDelivery) -> None:
        async with AsyncSession(self._context.database.bookkeeping) as session:
            row = await read_claimed(session, lost)
        if row is None:
            return
        with delivery_context(
            event_id=row["event_id"],
            topic=row["topic"],
            partition=row["partition"],
            offset=row["offset"],
            handler=row["handler"],
            attempt=row["attempts"],
            tenant_id=row["tenant_id"],
        ):
            delivery = await self._delivery(lost, row)
            if delivery is None:
                return
            log.warning("lease expired; settling the delivery of a stopped worker", worker=row["worker"])
            lease = leases.Lease(row["resource"], row["lease_token"], seconds=0.0)  # expired, and never extended
            await self._settlement.crashed(Attempt(delivery, row["started_at"], lease), row["lost_leases"])

    async def _delivery(self, lost: LostDelivery, row: RowMapping) -> Delivery | None:
        """Return the delivery as it was claimed; None: it cannot be read now, or it is dead-lettered."""
        handler = self._handlers.get(lost.handler)
        if handler is None:
            error = ErrorText("UnknownHandler", f"no handler {lost.handler!r} in this version", "")
            await self._unreadable.dead_letter(lost, row, Reason.UNKNOWN_HANDLER, error)
            return None
        try:
            topic = self._catalogue.topic(lost.topic)
            event = await self._event(topic.name, row["record_value"])
        except SchemaNotFetchedError as missing:
            self._postpone(_key(lost), math.inf)
            self._context.schemas.fetch_in_background(missing, partial(self._resume, _key(lost)))
            return None
        except (DecodeError, UnknownEventError, FileMissingError, TicketError) as error:
            await self._cannot_read(lost, row, error)
            return None
        except StorageAwayError as error:
            log.warning("cannot read a claimed record; the storage does not answer", error=str(error))
            self._postpone(_key(lost))
            return None
        record = claimed_record(row)
        return Delivery(
            event,
            handler,
            topic,
            record,
            None,
            seq=row["seq"],
            attempts=row["attempts"] - 1,
            replays=row["replays"],
            first_failed_at=header_number(record, headers.FIRST_FAILED_AT),
        )

    async def _cannot_read(self, lost: LostDelivery, row: RowMapping, error: Exception) -> None:
        """Leave the delivery to another version. Once no version has read it for a day, dead-letter it."""
        if lost.overdue:
            await self._unreadable.dead_letter(lost, row, _reason(error), described(error))
            return
        log.error("cannot read a claimed record; another version may", exc_info=error, fault="record")
        self._postpone(_key(lost))

    async def _event(self, topic: str, value: bytes) -> Event:
        codec = self._context.codec
        try:
            return codec.decode(topic, value)
        except PayloadElsewhereError as elsewhere:
            if codec.claims is None:
                raise
            return codec.decode(topic, await asyncio.to_thread(codec.claims.get, elsewhere.ticket))


def _key(lost: LostDelivery) -> Key:
    return (lost.event_id, lost.handler, lost.token)


def _reason(error: Exception) -> Reason:
    """Return the reason of a dead letter for an error of reading a claimed record."""
    if isinstance(error, UnknownEventError):
        return Reason.UNKNOWN_HANDLER
    return Reason(error.reason) if isinstance(error, DecodeError) else Reason.DECODE
