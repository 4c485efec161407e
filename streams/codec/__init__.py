"""Events as bytes and bytes as events: Avro in the wire format of Confluent's registry."""

from streams.codec.claim_check import Ticket, TicketError
from streams.codec.encryption import SealedError
from streams.codec.event_codec import (
    Codec,
    DecodeError,
    EncodedEvent,
    PayloadElsewhereError,
    SchemaMissingError,
    build_codec,
    default_codec,
)

__all__ = [
    "Codec",
    "DecodeError",
    "EncodedEvent",
    "PayloadElsewhereError",
    "SchemaMissingError",
    "SealedError",
    "Ticket",
    "TicketError",
    "build_codec",
    "default_codec",
]
