"""Encoding and decoding of events: Avro in the wire format of Confluent's schema registry."""

from streams.codec.claim_check import Ticket, TicketError
from streams.codec.encryption import SealedError
from streams.codec.errors import DecodeError, PayloadElsewhereError, SchemaMissingError
from streams.codec.event_codec import Codec, EncodedEvent, build_codec, default_codec

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
