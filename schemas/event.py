"""The base class of all events, and the event id that makes processing idempotent."""

import secrets
import time
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.evolution import Compatibility

_RANDOM = (1 << 76) - (1 << 64) | (1 << 62) - 1
"""The random bits of a UUIDv7: 12 after the version, 62 after the variant."""


def new_event_id(milliseconds: int | None = None) -> UUID:
    """Return a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then version, variant and 74 random bits."""
    unix_ms = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    random_bits = secrets.randbits(74)
    value = (unix_ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 62) << 64
    value |= 0b10 << 62
    value |= random_bits & (1 << 62) - 1
    return UUID(int=value)


def with_time(event_id: UUID, milliseconds: int) -> UUID:
    """Return the UUIDv7 with another time (Unix milliseconds) and the same random bits. It is deterministic."""
    random_bits = event_id.int & _RANDOM
    return UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62 | random_bits)


_YEAR_10000 = 253_402_300_800_000
"""Unix milliseconds of the first moment that `datetime` does not have."""


def event_time(event_id: UUID) -> datetime | None:
    """Return the time of a UUIDv7 (UTC, milliseconds). None for any other UUID, and for a year after 9999."""
    milliseconds = event_id.int >> 80
    if event_id.version != 7 or milliseconds >= _YEAR_10000:  # noqa: PLR2004 - the version this function is about
        return None
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


class Event(BaseModel):
    """An immutable fact or request about the platform. Unknown fields are rejected, so that a typo is not ignored.

    A validation error names the field and does not contain its value, which may be confidential.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    compatibility: ClassVar[Compatibility] = "FULL_TRANSITIVE"
    """The compatibility that a changed class must keep. By default it and all earlier versions are compatible."""

    event_id: UUID = Field(default_factory=new_event_id)
    """UUIDv7. Its time decides the day partition of the ledger."""
    occurred_at: datetime = Field(default_factory=lambda: datetime.now(tz=UTC))
    tenant_id: str | None = None
    """Null if the sender cannot know the tenant. All such events count as one tenant."""
