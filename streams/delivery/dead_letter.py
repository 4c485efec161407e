"""Values that describe a dead letter: the record, the reason, the error."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from streams.delivery.errors import Reason
from streams.observability.error_text import ErrorText, describe, type_name
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Record

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record that cannot be delivered to a handler, and what is known about it."""

    record: Record
    topic: str
    """The topic of the event; for a record in a retry tier not the topic of the record."""
    reason: Reason
    error: ErrorText
    event_id: UUID | None = None
    tenant_id: str | None = None
    handler: str | None = None
    bare: bool = False
    """True: nothing of the record is read, since its headers or its value may end the process."""


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """Why a record is dead, for its headers and the index of dead letters."""

    reason: Reason
    error: ErrorText
    attempts: int
    first_failed_at: int
    """ms since the epoch."""
    died_at: int
    group: str
    handler: str | None = None
    event_id: UUID | None = None
    replays: int = 0
    span: bytes | None = None
    """`traceparent` of its settlement. None: it is not traced."""


def fingerprint(info: DeadLetterInfo) -> str:
    """Return 16 hex digits that are the same for failures of one kind: handler, reason and exception class."""
    kind = "\n".join((info.handler or "", info.reason, info.error.type_name))
    return hashlib.sha256(kind.encode()).hexdigest()[:16]


def described(error: BaseException) -> ErrorText:
    """Describe an exception, even one whose `__str__` fails: its delivery must be settled anyway."""
    try:
        return describe(error)
    except BaseException as unprintable:  # noqa: BLE001 - its text may even raise SystemExit
        log.warning("cannot get the text of an exception", error_type=type_name(error), why=type_name(unprintable))
        return ErrorText(type_name(error), f"its text cannot be read: {type_name(unprintable)}", "")
