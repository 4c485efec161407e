"""Loads payloads from the storage before their records are decoded, and removes them after the last handler."""

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
from streams.delivery.admission.database_gate import DatabaseGate, database_error_kind
from streams.delivery.delivery import Delivery, PendingRecord
from streams.delivery.errors import Unavailable
from streams.delivery.handler import Handler
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.storage import FileMissingError
from streams.transport.kafka.records import Assignment, Chunk, Record

log = get_logger(__name__)
STORAGE = "storage"
"""The dependency's name in `Handler.needs` and in `streams breakers`."""
CONCURRENT_READS = 4
"""Payloads of one pool that are read at the same time."""
PART_BYTES = 32 * 1024 * 1024
"""Bytes of payloads that are loaded together. A chunk that needs more is processed in parts."""
MEMORY_LIMIT = 128 * 1024 * 1024
"""Bytes of payloads with unsettled deliveries. At this limit a pool loads no more."""
UNAVAILABLE_TIMEOUT = 10.0
"""Seconds that a chunk waits for an unavailable storage. Then its tickets move to tier zero and the rest continues."""
PAUSE, MISSING_PAUSE = 1.0, 0.5
"""Seconds until an unavailable storage, or a missing file, is tried again."""
MISSING_TRIES = 3
"""Tries until a file counts as missing: a network file system may show it late."""
MEMORY_CHECK_INTERVAL = 0.05
"""Seconds between two checks for free memory."""

SUCCEEDED = text(
    """
    select count(*) from streams.executions
    where day = :day and event_id = :event_id and handler = any(:handlers) and status = 'success'
    """
)


@dataclass(slots=True, eq=False)
class Reservation:
    """Memory of a payload, reserved until the record's deliveries are settled or its partition is revoked."""

    assignment: Assignment
    size: int
    pending: PendingRecord | None = None
    released: bool = False

    @property
    def is_active(self) -> bool:
        """Whether the payload is still needed."""
        settled = self.pending is not None and self.pending.deliveries == 0
        return not (self.released or self.assignment.revoked or settled)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A payload and its reservation of memory."""

    value: bytes
    reservation: Reservation


Payload: TypeAlias = Loaded | DecodeError | Literal["done", "unavailable"]
"""The result of loading a ticket.

done: the payload was removed because every handler has succeeded. unavailable: the storage does not answer.
"""
Payloads: TypeAlias = Mapping[int, Payload]
"""By the offset of the record."""


@dataclass(frozen=True, slots=True)
class ChunkPart:
    """Records of one partition, and their tickets by offset."""

    chunk: Chunk
    tickets: Mapping[int, Ticket]


def release_unused(payloads: Iterable[Payload]) -> None:
    """Release the memory of payloads that were decoded and gave no delivery, for example since they are no events."""
    for payload in payloads:
        if isinstance(payload, Loaded) and payload.reservation.pending is None:
            payload.reservation.released = True


def split_chunk(chunk: Chunk, tickets: Mapping[int, Ticket], most: int = PART_BYTES) -> list[ChunkPart]:
    """Split a chunk into parts with at most `most` bytes of payloads each, or with one payload. Keeps the order."""
    parts: list[ChunkPart] = []
    records: list[Record] = []
    own: dict[int, Ticket] = {}
    size = 0
    for record in chunk.records:
        ticket = tickets.get(record.offset)
        if ticket is not None and own and size + ticket.size > most:
            parts.append(ChunkPart(Chunk(chunk.assignment, records, chunk.fetched_at), own))
            records, own, size = [], {}, 0
        records.append(record)
        if ticket is not None:
            own[record.offset] = ticket
            size += ticket.size
    parts.append(ChunkPart(Chunk(chunk.assignment, records, chunk.fetched_at), own))
    return parts


class PayloadLoader:
    """Loads the payloads of one pool's tickets. Runs on the event loop."""

    def __init__(  # noqa: PLR0913 - one argument per dependency
        self,
        claims: ClaimCheck | None,
        bookkeeping: AsyncEngine,
        gate: DatabaseGate,
        breakers: BreakerRegistry,
        *,
        by_topic: Mapping[str, tuple[Handler[Event], ...]],
        removal: Literal["age", "success"],
    ) -> None:
        """Create the loader of one pool.

        Args:
            claims: The storage of the payloads; None: no storage is known here.
            bookkeeping: The database with the ledger, which shows whether a payload is still needed.
            gate: Says whether that database answers.
            breakers: Get the state of the storage.
            by_topic: The handlers of each topic.
            removal: success: no other application reads the topics, so a payload is removed after the last handler.
                age: the handlers of other applications are not known, so maintenance removes it by its age.
        """
        self._claims = claims
        self._bookkeeping = bookkeeping
        self._gate = gate
        self._breakers = breakers
        self._by_topic = by_topic
        self._removes = removal == "success"
        self._removals: set[asyncio.Task[None]] = set()
        self._reservations: list[Reservation] = []
        self._read_slots = asyncio.Semaphore(CONCURRENT_READS)
        self._used = False
        """Whether a ticket was ever loaded."""

    async def load(self, part: ChunkPart) -> Payloads:
        """Load the payloads of a part of a chunk of an event topic."""
        self._used = True
        assignment = part.chunk.assignment
        reservations = {offset: Reservation(assignment, ticket.size) for offset, ticket in part.tickets.items()}
        await self._reserve(list(reservations.values()))
        handlers = self._by_topic.get(part.chunk.topic, ())
        loads = (self._load(ticket, reservations[offset], handlers) for offset, ticket in part.tickets.items())
        return dict(zip(part.tickets, await asyncio.gather(*loads), strict=True))

    async def load_one(self, assignment: Assignment, ticket: Ticket, handler: Handler[Event]) -> Payload:
        """Load the payload of one record of a retry tier."""
        self._used = True
        reservation = Reservation(assignment, ticket.size)
        await self._reserve([reservation])
        return await self._load(ticket, reservation, [handler])

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Remove the payloads of a finished unit that are no longer needed, if they are not kept for their age."""
        if not (self._used and self._removes):
            return
        for delivery in deliveries:
            if delivery.record.value is not None and delivery.record.value[:1] == TICKET_MAGIC:
                removal = asyncio.create_task(self._remove(delivery))
                self._removals.add(removal)
                removal.add_done_callback(self._removals.discard)

    def close(self) -> None:
        """Cancel the removals. Maintenance removes the remaining payloads by their age."""
        for removal in self._removals:
            removal.cancel()

    async def _reserve(self, wanted: Iterable[Reservation]) -> None:
        """Reserve memory for payloads that are loaded together: all or nothing, which prevents deadlocks."""
        reservations = list(wanted)
        size = sum(reservation.size for reservation in reservations)
        while True:
            self._reservations = [reservation for reservation in self._reservations if reservation.is_active]
            if (
                not self._reservations
                or sum(reservation.size for reservation in self._reservations) + size <= MEMORY_LIMIT
            ):
                self._reservations.extend(reservations)
                return
            await asyncio.sleep(MEMORY_CHECK_INTERVAL)

    async def _load(self, ticket: Ticket, reservation: Reservation, handlers: Sequence[Handler[Event]]) -> Payload:
        try:
            found = await self._read(ticket, handlers)
        except Exception as error:  # noqa: BLE001 - the process must not end for one ticket; its record is read again
            log.warning("cannot load a payload; its record waits", payload=ticket.key, error=message(error))
            found = "unavailable"
        if isinstance(found, bytes):
            return Loaded(found, reservation)
        reservation.released = True
        return found

    async def _read(
        self, ticket: Ticket, handlers: Sequence[Handler[Event]]
    ) -> bytes | DecodeError | Literal["done", "unavailable"]:
        claims, until, tries = self._claims, time.monotonic() + UNAVAILABLE_TIMEOUT, 0
        if claims is None:
            return DecodeError("decode", f"the value is in a storage, but none is configured here: {ticket.key}")
        while True:
            try:
                async with self._read_slots:
                    payload = await asyncio.to_thread(claims.get, ticket)
            except FileMissingError:
                if await self.succeeded(ticket.event_id, handlers):
                    return "done"
                tries += 1
                if tries == MISSING_TRIES:
                    return DecodeError("decode", f"the payload {ticket.key} is not in the storage")
                await asyncio.sleep(MISSING_PAUSE)
            except TicketError as error:
                return DecodeError("decode", str(error))
            except Exception as error:  # noqa: BLE001 - any other storage error is not caused by the record
                self._breakers.failed(Unavailable(STORAGE, message(error)))
                log.warning("cannot load a payload; its record waits", payload=ticket.key, error=message(error))
                if time.monotonic() > until:
                    return "unavailable"
                await asyncio.sleep(PAUSE)
            else:
                self._breakers.report(STORAGE, None)
                return payload

    async def succeeded(self, event_id: UUID, handlers: Sequence[Handler[Event]]) -> bool:
        """Return whether the ledger has a success of every handler; False if a handler has no ledger."""
        made_at = event_time(event_id)
        if made_at is None or not handlers or not all(handler.ledger for handler in handlers):
            return False
        names = [handler.name for handler in handlers]
        while True:
            await self._gate.wait_until_open()
            try:
                async with self._bookkeeping.connect() as connection:
                    wanted = {"day": made_at.date(), "event_id": event_id, "handlers": names}
                    return bool((await connection.execute(SUCCEEDED, wanted)).scalar_one() == len(names))
            except SQLAlchemyError as error:
                if database_error_kind(error) != "outage":
                    raise
                if not await self._gate.confirm(error):
                    await asyncio.sleep(PAUSE)

    async def _remove(self, delivery: Delivery) -> None:
        claims = self._claims
        if claims is None or delivery.record.value is None:
            return
        try:
            handlers = self._by_topic.get(delivery.topic.name, ())
            if await self.succeeded(delivery.event.event_id, handlers):
                async with self._read_slots:
                    await asyncio.to_thread(claims.store.delete, Ticket.read(delivery.record.value).key)
        except Exception as error:  # noqa: BLE001 - as above; maintenance removes it by its age
            log.warning("cannot remove a payload; maintenance removes it later", error=message(error))
