"""Claim check: a value that is too large for Kafka lies in the storage, and a ticket for it travels in its place.

A ticket is the byte 2 and JSON, ``{"key": …, "size": …, "sha256": …}``; Confluent's wire format starts with 0. It
is the record's value, so whatever copies the record (tiers, DLQs, the outbox, the ledger) copies the ticket.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from uuid import UUID

from pydantic import BaseModel

from schemas.event import event_time
from streams.settings import Settings
from streams.storage import Store, open_store

TICKET = b"\x02"
CONTENT_TYPE = b"application/vnd.streams.ticket+json"
"""The record's `content-type`, so that a foreign consumer sees that this is no Avro."""
FOLDER = "claims"
_KEY = re.compile(rf"{FOLDER}/\d{{8}}/(?P<id>[0-9a-f-]{{36}})")


class TicketError(ValueError):
    """Bytes that are no ticket, or a payload that is not its ticket's; the message is one line."""

    __module__ = "streams.codec"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a payload is, and how one knows it."""

    key: str
    """``claims/<yyyymmdd of the event id>/<event id>``."""
    size: int
    sha256: str

    @classmethod
    def of(cls, event_id: UUID, payload: bytes) -> "Ticket":
        """The ticket of an event's value: the same for the same event, so a repeat writes onto itself.

        Raises ValueError for an id that is no UUIDv7.
        """
        made_at = event_time(event_id)
        if made_at is None:
            message = f"the event id {event_id} carries no time (UUIDv7), and a large event is kept by it"
            raise ValueError(message)
        return cls(f"{folder_of(made_at.date())}/{event_id}", len(payload), hashlib.sha256(payload).hexdigest())

    @classmethod
    def read(cls, value: bytes) -> "Ticket":
        """The ticket that is a record's value. Raises TicketError; a ticket leads to payloads, and to no other file."""
        try:
            told = json.loads(value[1:])
        except ValueError:
            told = None
        match told:
            case {"key": str(key), "size": int(size), "sha256": str(digest)} if _KEY.fullmatch(key):
                return cls(key, size, digest)
        message = "the value begins as a ticket for a payload, and is none"
        raise TicketError(message)

    @property
    def value(self) -> bytes:
        """What travels."""
        return TICKET + json.dumps(asdict(self)).encode()

    @property
    def event_id(self) -> UUID:
        """Of the event whose value it is for."""
        return UUID(self.key.rpartition("/")[2])

    def check(self, payload: bytes) -> bytes:
        """The payload, if it is this ticket's. Raises TicketError."""
        if len(payload) != self.size or hashlib.sha256(payload).hexdigest() != self.sha256:
            message = f"the payload {self.key} is not the one that was published"
            raise TicketError(message)
        return payload


class ClaimCheck:
    """Puts payloads into the storage and gets them. Blocks while it does; any thread."""

    def __init__(self, limit: int, largest: int, open_it: Callable[[], Store]) -> None:
        """`limit`: bytes from which on a value is put away; `largest`: that a value may have. Opens nothing yet."""
        self.limit = limit
        self._largest = largest
        self._open = open_it

    @cached_property
    def store(self) -> Store:
        """The storage, opened when it is needed first: most senders never do. Raises SettingsError."""
        return self._open()

    def put(self, event_id: UUID, payload: bytes) -> Ticket:
        """Put a payload away, for good when this returns. Raises ValueError where it is too large, StorageAwayError."""
        if len(payload) > self._largest:
            message = f"the event takes {len(payload)} bytes, at most {self._largest} are taken"
            raise ValueError(message)
        ticket = Ticket.of(event_id, payload)
        self.store.write(ticket.key, payload)
        return ticket

    def get(self, ticket: Ticket) -> bytes:
        """The payload of a ticket. Raises FileMissingError, StorageAwayError, TicketError."""
        if ticket.size > self._largest:
            message = f"the payload {ticket.key} has {ticket.size} bytes, at most {self._largest} are read"
            raise TicketError(message)
        return ticket.check(self.store.read(ticket.key))


SURELY_SMALL = 64 * 1024
"""Bytes: below it no setting puts a value away that a person would mind."""
_WIDEST = 4
"""Bytes of a character in UTF-8, at most."""
_SCALAR = 40
"""Bytes of a number, a time or an id in Avro, at most."""
_SCALARS = frozenset({int, float, bool, type(None), UUID, datetime})


def may_be_large(event: BaseModel) -> bool:
    """Whether encoding it may put a payload away, which blocks; quick, and never wrong where it says no.

    For event loops, which then do it in a thread. Files are fast enough for a few KiB, whatever the limit.
    """
    values = event.__dict__.values()
    longest = _SCALAR * len(values)
    for value in values:
        if type(value) is str:
            longest += _WIDEST * len(value)
        elif type(value) not in _SCALARS:
            return _size(event.__dict__) > SURELY_SMALL
    return longest > SURELY_SMALL and _size(event.__dict__) > SURELY_SMALL


def _size(value: object) -> int:
    """Not less than the bytes of its Avro."""
    match value:
        case str():
            return _SCALAR + (len(value) if value.isascii() else _WIDEST * len(value))
        case bytes():
            return _SCALAR + len(value)
        case Mapping():
            return sum(_size(name) + _size(inner) for name, inner in value.items())
        case list() | tuple() | set() | frozenset():
            return sum(map(_size, value))
        case BaseModel():
            return _size(value.__dict__)
    return _SCALAR


def folder_of(day: date) -> str:
    """Where the payloads are of events with ids of a day (UTC)."""
    return f"{FOLDER}/{day:%Y%m%d}"


def open_claim_check(settings: Settings) -> ClaimCheck:
    """The claim check of these settings; it opens its storage with the first large event."""
    return ClaimCheck(settings.claim_check_bytes, settings.claim_check_max_bytes, lambda: open_store(settings))


def remove_old(store: Store, newest: date, days: int) -> int:
    """Remove the payloads of events with ids of `newest` and so many days before it (UTC); returns how many."""
    removed = 0
    for back in range(days):
        for key in store.keys(folder_of(newest - timedelta(days=back))):
            store.delete(key)
            removed += 1
    return removed
