"""Claim check: a value that is too large for Kafka is kept in the storage, and the record has a ticket in its place.

A ticket is the byte 2 and JSON, ``{"key": …, "size": …, "sha256": …}``. Confluent's wire format starts with byte 0. The
ticket is the record's value, so every copy of the record (retry topics, DLQs, the outbox, the ledger) has it too.
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

TICKET_MAGIC = b"\x02"
CONTENT_TYPE = b"application/vnd.streams.ticket+json"
"""The record's `content-type`. It shows other consumers that the value is not Avro."""
FOLDER = "claims"
LONGEST_TICKET = 1024
"""The maximum number of bytes of a ticket. Longer values are not parsed: a ticket has about 150."""
_KEY = re.compile(rf"{FOLDER}/[0-9]{{8}}/[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")
_DIGEST = re.compile("[0-9a-f]{64}")


class TicketError(ValueError):
    """The bytes are not a ticket, or the payload does not match its ticket. The message is one line."""

    __module__ = "streams.codec"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The key of a payload in the storage, and its checksum."""

    key: str
    """``claims/<yyyymmdd of the event id>/<event id>``."""
    size: int
    sha256: str

    @classmethod
    def of(cls, event_id: UUID, payload: bytes) -> "Ticket":
        """Return the ticket of an event's value. A repeated event gets the same key and overwrites its payload.

        Raises ValueError if the id is not a UUIDv7.
        """
        made_at = event_time(event_id)
        if made_at is None:
            message = f"the event id {event_id} carries no time (UUIDv7): a large event is stored by this time"
            raise ValueError(message)
        return cls(f"{folder_of(made_at.date())}/{event_id}", len(payload), hashlib.sha256(payload).hexdigest())

    @classmethod
    def read(cls, value: bytes) -> "Ticket":
        """Return the ticket of a record's value. It can name payloads only, no other files. Raises TicketError."""
        match _content(value):
            case {"key": str(key), "size": int(size), "sha256": str(digest)}:
                if size >= 0 and not isinstance(size, bool) and _is_key(key) and _DIGEST.fullmatch(digest):
                    return cls(key, size, digest)
        message = "the value starts like a ticket for a payload, but it is not one"
        raise TicketError(message)

    @property
    def value(self) -> bytes:
        """The bytes of the record's value."""
        return TICKET_MAGIC + json.dumps(asdict(self)).encode()

    @property
    def event_id(self) -> UUID:
        """The id of the event whose value is stored."""
        return UUID(self.key.rpartition("/")[2])

    def check(self, payload: bytes) -> bytes:
        """Return the payload if it matches this ticket. Raises TicketError."""
        if len(payload) != self.size or hashlib.sha256(payload).hexdigest() != self.sha256:
            message = f"the payload {self.key} is not the published one"
            raise TicketError(message)
        return payload


def _content(value: bytes) -> object:
    """Return the JSON of a ticket, or None if there is none."""
    if len(value) > LONGEST_TICKET:
        return None
    try:
        return json.loads(value[1:].decode())  # bytes may be UTF-16, too
    except (ValueError, RecursionError):
        return None


def _is_key(key: str) -> bool:
    """Return True if a key is the one that a UUIDv7 has, in the folder of its day."""
    if not _KEY.fullmatch(key):
        return False
    folder, _, event_id = key.rpartition("/")
    made_at = event_time(UUID(event_id))
    return made_at is not None and folder == folder_of(made_at.date())


class ClaimCheck:
    """Writes payloads to the storage and reads them. Both block. Any thread may call them."""

    def __init__(self, limit: int, largest: int, open_store: Callable[[], Store]) -> None:
        """Create it without opening the storage.

        Args:
            limit: The largest value in bytes that stays in its record.
            largest: The largest value in bytes that is stored.
            open_store: Opens the storage.
        """
        self.limit = limit
        self._largest = largest
        self._open = open_store

    @cached_property
    def store(self) -> Store:
        """The storage. It is opened on first use, since most senders never need it. Raises SettingsError."""
        return self._open()

    def put(self, event_id: UUID, payload: bytes) -> Ticket:
        """Store a payload durably and return its ticket. Raises ValueError if it is too large, StorageAwayError."""
        if len(payload) > self._largest:
            message = f"the event has {len(payload)} bytes, the limit is {self._largest}"
            raise ValueError(message)
        ticket = Ticket.of(event_id, payload)
        self.store.write(ticket.key, payload)
        return ticket

    def get(self, ticket: Ticket) -> bytes:
        """Return the payload of a ticket. Raises FileMissingError, StorageAwayError, TicketError."""
        self.check_size(ticket)
        return ticket.check(self.store.read(ticket.key))

    def check_size(self, ticket: Ticket) -> None:
        """Raise TicketError if the payload of a ticket is larger than the limit."""
        if ticket.size > self._largest:
            message = f"the payload {ticket.key} has {ticket.size} bytes, the limit is {self._largest}"
            raise TicketError(message)


SURELY_SMALL = 64 * 1024
"""A size in bytes below which storing a value is fast, whatever the setting."""
_WIDEST = 4
"""The maximum number of bytes of a character in UTF-8."""
_SCALAR = 40
"""The maximum number of bytes of a number, a time or an id in Avro."""
_SCALARS = frozenset({int, float, bool, type(None), UUID, datetime})


def may_be_large(event: BaseModel) -> bool:
    """Return False if encoding the event stores no payload that takes long. It is fast and never wrong about this.

    Event loops use it to encode large events in a thread. Files of a few KiB are fast enough, whatever the limit.
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
    """Return an upper bound for the number of bytes in Avro."""
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
    """Return the folder with the payloads of events whose ids are of a day (UTC)."""
    return f"{FOLDER}/{day:%Y%m%d}"


def open_claim_check(settings: Settings) -> ClaimCheck:
    """Return the claim check of these settings. It opens its storage with the first large event."""
    return ClaimCheck(settings.claim_check_bytes, settings.claim_check_max_bytes, lambda: open_store(settings))


def remove_old(store: Store, newest: date, days: int) -> int:
    """Delete old payloads and return their number.

    Args:
        store: The storage.
        newest: The last day (UTC) of event ids whose payloads are deleted.
        days: How many days are deleted, backwards from `newest`.
    """
    removed = 0
    for back in range(days):
        for key in store.keys(folder_of(newest - timedelta(days=back))):
            store.delete(key)
            removed += 1
    return removed
