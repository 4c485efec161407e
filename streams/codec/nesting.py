"""Limits how deeply a value of a recursive schema is nested, before fastavro reads it.

fastavro reads a record inside a record in C, one call inside the other, without a limit. Ten kilobytes of the branch
"one more record" end the process with a segmentation fault. Only schemas whose records contain themselves need this.

Encoding: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from schemas.avro_type import AvroType

MAX_DEPTH = 100
"""The largest number of records inside each other."""
_BYTES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_LONGEST_NUMBER = 10
"""Bytes."""


def check_nesting(kind: AvroType, value: bytes, at: int) -> None:
    """Raise an error if a value is nested too deeply, or if it is not in Avro's encoding.

    Args:
        kind: The type of the value.
        value: The bytes.
        at: The place of the first byte.

    Raises:
        ValueError: The value is nested too deeply, or a length or a branch is invalid.
        IndexError: Bytes are missing.
        RecursionError: The value is nested too deeply, inside a schema that is nested deeply itself.
    """
    _end(kind, value, at, 0)


def _end(kind: AvroType, value: bytes, at: int, depth: int) -> int:
    """Return the end of a value."""
    if kind.kind == "record":
        return _end_of_record(kind, value, at, depth)
    if kind.kind in {"array", "map"}:
        return _end_of_blocks(kind, value, at, depth)
    if kind.kind in {"bytes", "string"}:
        return _end_of_bytes(value, at)
    if kind.kind in _BYTES or kind.kind == "fixed":
        return at + _BYTES.get(kind.kind, kind.size)
    number, at = _number(value, at)
    if kind.kind != "union":
        return at
    if not 0 <= number < len(kind.parts):
        message = f"there is no branch {number} of {kind}"
        raise ValueError(message)
    return _end(kind.parts[number], value, at, depth)


def _end_of_record(kind: AvroType, value: bytes, at: int, depth: int) -> int:
    if depth == MAX_DEPTH:
        message = f"more than {MAX_DEPTH} records are nested"
        raise ValueError(message)
    for field in kind.fields:
        at = _end(field.type, value, at, depth + 1)
    return at


def _end_of_blocks(kind: AvroType, value: bytes, at: int, depth: int) -> int:
    """Return the end of an array or a map. `readable_type` guarantees that each item takes at least one byte."""
    while True:
        count, at = _number(value, at)
        if count == 0:
            return at
        if count < 0:
            count = -count
            at = _number(value, at)[1]
        if count > len(value) - at:
            message = f"{count} items are announced, but {max(0, len(value) - at)} bytes are left"
            raise ValueError(message)
        for _ in range(count):
            if kind.kind == "map":
                at = _end_of_bytes(value, at)
            at = _end(kind.parts[0], value, at, depth)


def _end_of_bytes(value: bytes, at: int) -> int:
    length, at = _number(value, at)
    if length < 0:
        message = f"a length is {length}"
        raise ValueError(message)
    return at + length


def _number(value: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and its end."""
    number = 0
    for place in range(_LONGEST_NUMBER):
        byte = value[at + place]
        number |= (byte & 127) << 7 * place
        if byte < 128 and number < 1 << 64:  # noqa: PLR2004 - seven bits a byte, 64 bits a number
            return (number >> 1) ^ -(number & 1), at + place + 1
    message = "a number has more than 64 bits"
    raise ValueError(message)
