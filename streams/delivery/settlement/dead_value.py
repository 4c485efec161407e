"""Builds the value of a dead letter: the record's own, unless a field of it is secret."""

from dataclasses import dataclass
from typing import Literal

from schemas.sensitivity import has_secret
from streams.codec import Codec
from streams.codec.encryption import ENCRYPTED_MAGIC
from streams.transport.kafka.records import Record

Protection = Literal["encrypted", "masked", "removed"]
FOR_GOOD: frozenset[str] = frozenset({"masked", "removed"})
"""What was done to a value that nobody can undo."""


@dataclass(frozen=True, slots=True)
class DeadValue:
    """The value of a dead letter, and what was done to it; None: nothing, it is as it came."""

    value: bytes | None
    protection: Protection | None = None


def dead_value(codec: Codec, topic: str, record: Record) -> DeadValue:
    """Return the value for the DLQ of a topic, byte for byte unless the schema marks a field as secret.

    Then it is encrypted where there is a key, else encoded anew with its secrets masked. A value that cannot be read
    is left out: nobody knows where its secrets are.

    Args:
        codec: Its schemas mark the secret fields.
        topic: The event's topic.
        record: What came.
    """
    value = record.value
    if value is None or (value[:1] != ENCRYPTED_MAGIC and not has_secret(codec.writer_schemas.marks(topic, value))):
        return DeadValue(value)
    sealed = codec.encryptor.encrypt(value)
    if sealed[:1] == ENCRYPTED_MAGIC:
        return DeadValue(sealed, "encrypted")
    masked = codec.writer_schemas.without_secrets(topic, value)
    return DeadValue(masked, "removed" if masked is None else "masked")
