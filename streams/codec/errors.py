"""Errors of the codec."""

from typing import Literal

from streams.codec.claim_check import Ticket

DecodeReason = Literal["decode", "validation", "unknown-schema"]


class DecodeError(Exception):
    """The bytes are not an event of their topic. `reason` is the reason of the dead letter."""

    __module__ = "streams.codec"

    def __init__(self, reason: DecodeReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PayloadElsewhereError(DecodeError):
    """The record's value is a ticket, and its payload is in the storage. The caller has to read it from there."""

    __module__ = "streams.codec"

    def __init__(self, ticket: Ticket) -> None:
        super().__init__("decode", f"the value is in the storage, {ticket.key}")
        self.ticket = ticket


class SchemaMissingError(Exception):
    """An event's schema is not in the registry. The message says how to register it."""

    __module__ = "streams.codec"
