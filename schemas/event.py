"""The event that all others extend, and the identity that makes work happen once."""

import secrets
import time
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.evolution import Compatibility

_RANDOM = (1 << 76) - (1 << 64) | (1 << 62) - 1
"""Of a UUIDv7's bits those that are drawn: 12 behind the version, 62 behind the variant."""


def new_event_id(milliseconds: int | None = None) -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then version, variant and 74 random bits."""
    unix_ms = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    random_bits = secrets.randbits(74)
    value = (unix_ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 62) << 64
    value |= 0b10 << 62
    value |= random_bits & (1 << 62) - 1
    return UUID(int=value)


def with_time(event_id: UUID, milliseconds: int) -> UUID:
    """The UUIDv7 of another time (Unix milliseconds) with the same random bits: asked again it is the same."""
    random_bits = event_id.int & _RANDOM
    return UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62 | random_bits)


def event_time(event_id: UUID) -> datetime | None:
    """When a UUIDv7 was made (UTC, milliseconds), or None for any other UUID."""
    if event_id.version != 7:  # noqa: PLR2004 - the version this function is about
        return None
    return datetime.fromtimestamp((event_id.int >> 80) / 1000, tz=UTC)


class Event(BaseModel):
    """An immutable fact or request about the platform. Unknown fields are refused: a typo must not vanish.

    An error about a field names it and does not repeat its value, which may be nobody's business.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    compatibility: ClassVar[Compatibility] = "FULL_TRANSITIVE"
    """What the gate demands of a changed class: by default that it and every version before understand each other."""

    event_id: UUID = Field(default_factory=new_event_id)
    """UUIDv7; the ledger's day comes from its time."""
    occurred_at: datetime = Field(default_factory=lambda: datetime.now(tz=UTC))
    tenant_id: str | None = None
    """Null where the sender cannot know it; all such events count as one tenant."""
