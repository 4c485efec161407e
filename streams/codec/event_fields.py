"""Prepares an event for encoding: its fields as Avro takes them, and the texts of its headers. Optimised for speed."""

from collections.abc import Callable
from datetime import UTC, timedelta
from functools import lru_cache

from schemas import Event
from streams.codec.avro_writer import EPOCH, microseconds

EventFields = Callable[[Event], dict[str, object]]


def fields_of(kind: type[Event], *, scalars: bool) -> EventFields:
    """Return the function that reads the fields of a class's events.

    Scalars are the same in the event as in its dump. Reading them takes a tenth of the time that encoding has.

    Args:
        kind: The event class.
        scalars: Whether all fields are scalars, or lists of scalars.
    """
    return _from_dict if scalars and not has_serializer(kind.__pydantic_core_schema__) else _dumped


def _from_dict(event: Event) -> dict[str, object]:
    return event.__dict__.copy()


def _dumped(event: Event) -> dict[str, object]:
    """Dump without Pydantic's warnings, which repeat values. Avro rejects wrong values anyway."""
    return event.model_dump(warnings=False)


def has_serializer(core_schema: object) -> bool:
    """Return True if Pydantic's schema of a class changes any value when it is dumped."""
    if isinstance(core_schema, dict):
        return "serialization" in core_schema or any(map(has_serializer, core_schema.values()))
    return isinstance(core_schema, list | tuple) and any(map(has_serializer, core_schema))


def set_id_and_time(event: Event, fields: dict[str, object]) -> tuple[bytes, bytes]:
    """Write the event's id and time into its fields, in the form that is fastest to encode.

    Returns:
        The texts of the id and the time, for headers.
    """
    digits = f"{event.event_id.int:032x}"
    # Same result as `str`, in half the time.
    event_id = fields["event_id"] = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if event.occurred_at.tzinfo is not UTC:
        return event_id.encode(), event.occurred_at.isoformat().encode()
    fields["occurred_at"] = micros = microseconds(event.occurred_at)
    return event_id.encode(), utc_text(micros)


def utc_text(micros: int) -> bytes:
    """Return microseconds since the epoch as `datetime.isoformat` writes them in UTC, in a third of the time."""
    second, rest = divmod(micros, 1_000_000)
    return b"%b.%06d+00:00" % (_second(second), rest) if rest else _second(second) + b"+00:00"


@lru_cache(maxsize=16)
def _second(second: int) -> bytes:
    return (EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat().encode()
