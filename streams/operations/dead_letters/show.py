"""Shows a dead letter's record: its value with masked fields, its key and headers as text."""

import base64
import json
from dataclasses import dataclass

from schemas.sensitivity import Marks
from streams import headers
from streams.codec import Codec, DecodeError
from streams.codec.claim_check import TICKET_MAGIC, Ticket, TicketError
from streams.codec.encryption import SealedError
from streams.headers import SPRING_OFFSET, SPRING_PARTITION, SPRING_TIMESTAMP
from streams.observability.redaction import MASK, masked
from streams.storage import FileMissingError, StorageAwayError

_BIG_ENDIAN = {SPRING_PARTITION, SPRING_OFFSET, SPRING_TIMESTAMP}


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value for JSON with masked fields."""

    value: str | None
    """``base64:…``. If it has marked fields, only its size, since the bytes would show them."""
    event: object
    """Its fields, by the event's class or else by the schema it was written with. None: it cannot be decoded."""
    unreadable: str | None
    """Why it is not an event of this version's class."""


def show_value(codec: Codec, topic: str, value: bytes | None) -> ShownValue:
    """Return what people may see of a topic's record.

    Args:
        codec: Decrypts and decodes the value.
        topic: The topic of the event.
        value: The record's value.
    """
    if value is None:
        return ShownValue(None, None, "the record has no value")
    try:
        plain = codec.encryptor.decrypt(value)
    except SealedError as error:
        return ShownValue(_size(value), None, str(error))
    try:
        plain = _payload(codec, plain)
    except (TicketError, FileMissingError, StorageAwayError) as error:
        return ShownValue(_size(value), None, str(error))
    marks = codec.writer_schemas.marks(topic, plain)
    shown = f"base64:{base64.b64encode(value).decode()}" if marks is None else _size(value)
    try:
        event = json.loads(codec.decode(topic, plain).model_dump_json())
    except DecodeError as error:
        fields = codec.writer_schemas.fields(plain)
        return ShownValue(shown, None if fields is None else _shown_fields(fields, marks), str(error))
    return ShownValue(shown, _shown_fields(event, marks), None)


def _payload(codec: Codec, value: bytes) -> bytes:
    """Return the payload if the value is its ticket, else the value."""
    if value[:1] != TICKET_MAGIC or codec.claims is None:
        return value
    return codec.claims.get(Ticket.read(value))


def _shown_fields(fields: dict[str, object], marks: Marks | None) -> object:
    visible = fields if marks is None else masked(fields, marks)
    return json.loads(json.dumps(visible, default=str))


def _size(value: bytes) -> str:
    return f"{MASK} ({len(value)} bytes)"


def header_value(name: str, value: bytes | None) -> object:
    """Return a header's value: a number where Spring writes one in binary, else as `readable` does."""
    number = headers.as_spring_number(value) if name in _BIG_ENDIAN else None
    return readable(value) if number is None else number


def readable(value: bytes | None) -> str | None:
    """Return bytes as text; ``base64:…`` if they are not UTF-8."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value).decode()}"
