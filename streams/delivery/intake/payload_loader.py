"""Values that lie in the storage: loaded before their records are read, removed when every handler has succeeded."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas import Event
from schemas.event import event_time
from streams.codec import DecodeError
from streams.codec.claim_check import TICKET_MAGIC, ClaimCheck, Ticket, TicketError
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.database_gate import DatabaseGate, trouble
from streams.delivery.delivery import Delivery, Pending
from streams.delivery.errors import Unavailable
from streams.delivery.handler import Handler
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.storage import FileMissingError
from streams.transport.kafka.records import Assignment, Chunk, Record

log = get_logger(__name__)
STORAGE = "storage"
"""The dependency's name, as handlers' needs and `streams breakers` have it."""
AT_ONCE = 4
"""Payloads that are being read at the same time, of one pool."""
PIECE = 32 * 1024 * 1024
"""Bytes of payloads that are got together; a chunk that needs more is taken piece by piece."""
MOST_HELD = 128 * 1024 * 1024
"""Bytes of payloads whose deliveries are not settled, from which on a pool gets no more."""
AWAY_BOUND = 10.0
"""Seconds for which a chunk waits for a storage that is away; then its tickets go aside and the rest goes on."""
PAUSE, MISSING_PAUSE = 1.0, 0.5
"""Seconds until a storage that is away, or a file that is not there, is looked at again."""
MISSING_LOOKS = 3
"""Looks until a file counts as missing: a network file system may be late."""
LOOK = 0.05
"""Seconds until it is looked again whether there is room."""

SUCCEEDED = text(
    """
    select count(*) from streams.executions
    where day = :day and event_id = :event_id and handler = any(:handlers) and status = 'success'
    """
)


@dataclass(slots=True, eq=False)
class Held:
    """Bytes in memory, as long as the partition is here and the record's deliveries are not settled."""

    assignment: Assignment
    size: int
    pending: Pending | None = None
    dropped: bool = False

    @property
    def counts(self) -> bool:
        """Whether the bytes are still needed."""
        settled = self.pending is not None and self.pending.deliveries == 0
        return not (self.dropped or self.assignment.revoked or settled)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A payload, and its share of the memory."""

    value: bytes
    held: Held


Payload: TypeAlias = Loaded | DecodeError | Literal["done", "away"]
"""What came of a ticket; done: the payload is gone because every handler has succeeded; away: the storage is."""
Payloads: TypeAlias = Mapping[int, Payload]
"""By the offset of their record."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one partition, and the tickets among them by their offsets."""

    chunk: Chunk
    tickets: Mapping[int, Ticket]


def pieces_of(chunk: Chunk, tickets: Mapping[int, Ticket], most: int = PIECE) -> list[Piece]:
    """A chunk in pieces of at most so many bytes of payloads, or of one payload; their records in order."""
    pieces: list[Piece] = []
    records: list[Record] = []
    own: dict[int, Ticket] = {}
    size = 0
    for record in chunk.records:
        ticket = tickets.get(record.offset)
        if ticket is not None and own and size + ticket.size > most:
            pieces.append(Piece(Chunk(chunk.assignment, records), own))
            records, own, size = [], {}, 0
        records.append(record)
        if ticket is not None:
            own[record.offset] = ticket
            size += ticket.size
    pieces.append(Piece(Chunk(chunk.assignment, records), own))
    return pieces


class PayloadLoader:
    """Loads the payloads of one pool's tickets. Lives on the event loop; without tickets it has nothing to do."""

    def __init__(
        self,
        claims: ClaimCheck | None,
        bookkeeping: AsyncEngine,
        gate: DatabaseGate,
        breakers: BreakerRegistry,
        *,
        by_topic: Mapping[str, tuple[Handler[Event], ...]],
    ) -> None:
        """Take what loading and removing needs.

        Args:
            claims: The storage of the payloads; None: no storage is known here.
            bookkeeping: The database with the ledger, which says whether a payload is still needed.
            gate: Whether that database answers.
            breakers: Hear whether the storage answers.
            by_topic: The handlers of each topic.
        """
        self._claims = claims
        self._bookkeeping = bookkeeping
        self._gate = gate
        self._breakers = breakers
        self._by_topic = by_topic
        self._removals: set[asyncio.Task[None]] = set()
        self._held: list[Held] = []
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._used = False
        """Whether there ever was a ticket."""

    async def load(self, piece: Piece) -> Payloads:
        """Load the payloads of a piece of an event topic's chunk together."""
        self._used = True
        assignment = piece.chunk.assignment
        held = {offset: Held(assignment, ticket.size) for offset, ticket in piece.tickets.items()}
        await self._room(list(held.values()))
        handlers = self._by_topic.get(piece.chunk.topic, ())
        loads = (self._load(ticket, held[offset], handlers) for offset, ticket in piece.tickets.items())
        return dict(zip(piece.tickets, await asyncio.gather(*loads), strict=True))

    async def load_one(self, assignment: Assignment, ticket: Ticket, handler: Handler[Event]) -> Payload:
        """Load the payload of one record of a tier."""
        self._used = True
        held = Held(assignment, ticket.size)
        await self._room([held])
        return await self._load(ticket, held, [handler])

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """A unit has ended: remove the payloads of its events that are not needed any more."""
        if not self._used:
            return
        for delivery in deliveries:
            if delivery.record.value is not None and delivery.record.value[:1] == TICKET_MAGIC:
                removal = asyncio.create_task(self._remove(delivery))
                self._removals.add(removal)
                removal.add_done_callback(self._removals.discard)

    def close(self) -> None:
        """Remove nothing any more: what could be removed is, by its age."""
        for removal in self._removals:
            removal.cancel()

    async def _room(self, wanted: Iterable[Held]) -> None:
        """Reserve memory for what is got together: all of it or none, so that two never wait for each other."""
        asked = list(wanted)
        size = sum(held.size for held in asked)
        while True:
            self._held = [held for held in self._held if held.counts]
            if not self._held or sum(held.size for held in self._held) + size <= MOST_HELD:
                self._held.extend(asked)
                return
            await asyncio.sleep(LOOK)

    async def _load(self, ticket: Ticket, held: Held, handlers: Sequence[Handler[Event]]) -> Payload:
        found = await self._find(ticket, handlers)
        if isinstance(found, bytes):
            return Loaded(found, held)
        held.dropped = True
        return found

    async def _find(
        self, ticket: Ticket, handlers: Sequence[Handler[Event]]
    ) -> bytes | DecodeError | Literal["done", "away"]:
        claims, until, looks = self._claims, time.monotonic() + AWAY_BOUND, 0
        if claims is None:
            return DecodeError("decode", f"the value is in a storage that is not known here, {ticket.key}")
        while True:
            try:
                async with self._at_once:
                    payload = await asyncio.to_thread(claims.get, ticket)
            except FileMissingError:
                if await self.succeeded(ticket.event_id, handlers):
                    return "done"
                looks += 1
                if looks == MISSING_LOOKS:
                    return DecodeError("decode", f"the payload {ticket.key} is not in the storage")
                await asyncio.sleep(MISSING_PAUSE)
            except TicketError as error:
                return DecodeError("decode", str(error))
            except Exception as error:  # noqa: BLE001 - whatever else a storage says, no record is to blame
                self._breakers.failed(Unavailable(STORAGE, message(error)))
                log.warning("a payload cannot be had, its record waits", payload=ticket.key, error=message(error))
                if time.monotonic() > until:
                    return "away"
                await asyncio.sleep(PAUSE)
            else:
                self._breakers.tell(STORAGE, None)
                return payload

    async def succeeded(self, event_id: UUID, handlers: Sequence[Handler[Event]]) -> bool:
        """Whether the ledger has a success of every handler; of one without a ledger it cannot say so."""
        made_at = event_time(event_id)
        if made_at is None or not handlers or not all(handler.ledger for handler in handlers):
            return False
        names = [handler.name for handler in handlers]
        while True:
            await self._gate.passed()
            try:
                async with self._bookkeeping.connect() as connection:
                    wanted = {"day": made_at.date(), "event_id": event_id, "handlers": names}
                    return bool((await connection.execute(SUCCEEDED, wanted)).scalar_one() == len(names))
            except SQLAlchemyError as error:
                if trouble(error) != "outage":
                    raise
                self._gate.trip(error)

    async def _remove(self, delivery: Delivery) -> None:
        claims = self._claims
        if claims is None or delivery.record.value is None:
            return
        try:
            handlers = self._by_topic.get(delivery.topic.name, ())
            if await self.succeeded(delivery.event.event_id, handlers):
                async with self._at_once:
                    await asyncio.to_thread(claims.store.delete, Ticket.read(delivery.record.value).key)
        except Exception as error:  # noqa: BLE001 - as above; what is left goes by its age
            log.warning("a payload was not removed, its age will", error=message(error))
