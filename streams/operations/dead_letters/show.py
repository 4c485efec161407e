"""A dead letter's value as people may see it."""

import base64
import json
from dataclasses import dataclass

from schemas.sensitivity import Marks
from streams.codec import Codec, DecodeError
from streams.codec.claim_check import TICKET, Ticket, TicketError
from streams.codec.encryption import SealedError
from streams.observability.redaction import MASK, masked
from streams.storage import FileMissingError, StorageAwayError


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value for JSON, its marked fields masked."""

    value: str | None
    """``base64:…``, or only its size where it has marked fields: the bytes would show them."""
    event: object
    """Its fields, by the event's class or else by the schema that it was written with; None: it cannot be read."""
    unreadable: str | None
    """Why it is no event of this version's class."""


def show_value(codec: Codec, topic: str, value: bytes | None) -> ShownValue:
    """What of a topic's record may be seen."""
    if value is None:
        return ShownValue(None, None, "there is no value")
    try:
        plain = codec.seals.open(value)
    except SealedError as error:
        return ShownValue(_size(value), None, str(error))
    try:
        plain = _whole(codec, plain)
    except (TicketError, FileMissingError, StorageAwayError) as error:
        return ShownValue(_size(value), None, str(error))
    marks = codec.written.marks(topic, plain)
    shown = f"base64:{base64.b64encode(value).decode()}" if marks is None else _size(value)
    try:
        event = json.loads(codec.decode(topic, plain).model_dump_json())
    except DecodeError as error:
        fields = codec.written.fields(plain)
        return ShownValue(shown, None if fields is None else _told(fields, marks), str(error))
    return ShownValue(shown, _told(event, marks), None)


def _whole(codec: Codec, value: bytes) -> bytes:
    """The value itself, where it is a ticket for it."""
    if value[:1] != TICKET or codec.claims is None:
        return value
    return codec.claims.get(Ticket.read(value))


def _told(fields: dict[str, object], marks: Marks | None) -> object:
    told = fields if marks is None else masked(fields, marks)
    return json.loads(json.dumps(told, default=str))


def _size(value: bytes) -> str:
    return f"{MASK} ({len(value)} bytes)"
