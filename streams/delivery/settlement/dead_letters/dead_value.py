"""Builds the value of a dead letter: the record's own value, unless a field is secret."""

from dataclasses import dataclass
from typing import Literal

from schemas.sensitivity import has_secret
from streams.codec import Codec
from streams.codec.encryption import is_encrypted
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Record

log = get_logger(__name__)
Protection = Literal["encrypted", "masked", "removed"]
FOR_GOOD: frozenset[str] = frozenset({"masked", "removed"})
"""Protections that cannot be undone."""


@dataclass(frozen=True, slots=True)
class DeadValue:
    """The value of a dead letter, and its protection; None: it is unchanged."""

    value: bytes | None
    protection: Protection | None = None


def allowed_value(codec: Codec, topic: str, record: Record) -> DeadValue:
    """Return what `dead_value` does; no value if that fails: its secrets could not be found."""
    try:
        return dead_value(codec, topic, record)
    except Exception:
        log.exception("cannot protect the value of a dead letter; it goes without")
        return DeadValue(None, "removed")


def dead_value(codec: Codec, topic: str, record: Record) -> DeadValue:
    """Return the value for the DLQ of a topic, byte for byte unless the schema marks a field as secret.

    A value with secret fields is encrypted if there is a key. Otherwise it is encoded again with masked secrets. A
    value that cannot be decoded is removed, because its secrets cannot be found.

    Args:
        codec: Has the schemas that mark secret fields.
        topic: The topic of the event.
        record: The record that is dead-lettered.
    """
    value = record.value
    if value is None or (not is_encrypted(value) and not has_secret(codec.writer_schemas.marks(topic, value))):
        return DeadValue(value)
    sealed = codec.encryptor.encrypt(value)
    if is_encrypted(sealed):
        return DeadValue(sealed, "encrypted")
    masked = codec.writer_schemas.without_secrets(topic, value)
    return DeadValue(masked, "removed" if masked is None else "masked")
