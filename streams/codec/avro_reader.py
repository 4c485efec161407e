"""Decodes Avro to a record's fields, in a fraction of fastavro's time.

The schema that records were written with is compiled to one Python function, as `dataclasses` creates methods: a call
per field would take longer than the decoding. The function handles the types that events have. fastavro handles all
other types, invalid bytes, and records that are read with another schema. So its errors say what is wrong. UUIDs stay
texts, as in Avro: Pydantic parses these in a tenth of the time that `uuid.UUID` takes.

Encoding: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, cast

import fastavro
from fastavro.read import LOGICAL_READERS
from fastavro.types import Schema

from streams.codec.nesting import check_nesting
from streams.schema_registry.schema_limits import is_recursive, readable_type

Fields: TypeAlias = dict[str, object]
FieldReader: TypeAlias = Callable[[bytes], Fields]
"""Decodes the fields of the one record in a value. Raises many kinds of errors for foreign bytes."""

PREFIX_LENGTH = 5
"""The number of bytes before the Avro in a value: a zero byte and four bytes of schema id."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MORE = 127
"""The largest byte that is a complete number."""
_SHIFTS = tuple(range(7, 70, 7))
"""The shifts of the second to the tenth byte of a number. 64 bits have no more."""
MAX_DECIMAL = 4096
"""The largest number of bytes of a decimal. Converting more to digits would take quadratic time."""
_SHORT_DECIMAL = "streams-short-decimal"
"""The logical type that a decimal is read as. fastavro finds its reader by this name."""
_BAD_BYTES = (ValueError, LookupError, ArithmeticError)
"""The errors that the function raises for invalid bytes."""


class _UnknownTypeError(Exception):
    """The schema has a type that only fastavro can read."""


def field_reader(writer: dict[str, object], wanted: dict[str, object] | None) -> FieldReader:
    """Return the reader of values with one record schema. Raises the same as `record_reader`.

    Args:
        writer: The schema that the values were written with.
        wanted: The schema to read them as. None: the same.
    """
    partial_read = record_reader(_with_plain_uuids(writer), None if wanted is None else _with_plain_uuids(wanted))

    def slow_read(value: bytes) -> Fields:
        found, end = partial_read(value)
        if end != len(value):
            message = f"{len(value) - end} bytes follow the record"
            raise ValueError(message)
        return found

    if wanted is not None:
        return slow_read
    try:
        fast = _compiled(writer)
    except _UnknownTypeError:
        return slow_read

    def read(value: bytes) -> Fields:
        try:
            return fast(value)
        except _BAD_BYTES:
            return slow_read(value)

    return read


def record_reader(writer: Schema, wanted: Schema | None = None) -> Callable[[bytes], tuple[Fields, int]]:
    """Return fastavro's reader of values with one record schema, with limits for bytes from others.

    The reader returns the fields and the place where the record ends. It raises many kinds of errors for foreign bytes.

    Args:
        writer: The schema that the values were written with.
        wanted: The schema to read them as. None: the same.

    Raises:
        BadSchemaError: The schema is invalid, or a few bytes could stand for any number of values.
        RecursionError: The schema is nested too deeply.
        Exception: fastavro rejects the schema.
    """
    kind = readable_type(writer)
    nested = is_recursive(kind)
    written = fastavro.parse_schema(_with_short_decimals(writer))
    read_as = None if wanted is None else fastavro.parse_schema(_with_short_decimals(wanted))

    def read(value: bytes) -> tuple[Fields, int]:
        if nested:
            check_nesting(kind, value, PREFIX_LENGTH)
        buffer = io.BytesIO(value)
        buffer.seek(PREFIX_LENGTH)
        found = fastavro.schemaless_reader(buffer, written, read_as)
        return cast("Fields", found), buffer.tell()

    return read


def _compiled(schema: Mapping[str, object]) -> FieldReader:
    """Return the function for a record. Its code contains only known types and, as literals, the schema's names."""
    fields = schema.get("fields")
    if schema.get("type") != "record" or not isinstance(fields, list):
        raise _UnknownTypeError
    lines = ["def read(value):", f" at = {PREFIX_LENGTH}"]
    for place, field in enumerate(fields):
        lines += (f" {line}" for line in _lines(field["type"], f"v{place}"))
    found = ", ".join(f"{str(field['name'])!r}: v{place}" for place, field in enumerate(fields))
    lines += [" if at != len(value):", "  raise ValueError", f" return {{{found}}}"]
    namespace: dict[str, object] = {"more": _more, "epoch": _EPOCH, "span": timedelta}
    exec("\n".join(lines), namespace)  # noqa: S102 - see above
    return cast("FieldReader", namespace["read"])


def _lines(schema: Schema, name: str) -> Iterator[str]:
    """Yield Python code that decodes a value at `at` into a variable and moves `at` behind it."""
    if isinstance(schema, list):
        yield from _optional(schema, name)
        return
    kind, logical = (schema, None) if isinstance(schema, str) else (schema.get("type"), schema.get("logicalType"))
    match kind, logical:
        case "string", None | "uuid":
            yield from _number("n")
            yield from ("if n & 1:", " raise ValueError", "end = at + (n >> 1)")
            yield from (f"{name} = value[at:end].decode()", "at = end")
        case "long" | "int", None:
            yield from (*_number("n"), f"{name} = (n >> 1) ^ -(n & 1)")
        case "long", "timestamp-micros":
            yield from (*_number("n"), f"{name} = epoch + span(0, 0, (n >> 1) ^ -(n & 1))")
        case "boolean", None:
            yield from (f"{name} = value[at] == 1", "if value[at] > 1:", " raise ValueError", "at += 1")
        case "array", None if isinstance(schema, dict):
            yield from _array(schema["items"], name)
        case _:
            raise _UnknownTypeError


def _number(name: str) -> Iterator[str]:
    """Yield code for a number. One byte is decoded inline: most numbers are lengths or branches of unions."""
    yield from (f"{name} = value[at]", "at += 1", f"if {name} > {_MORE}:", f" {name}, at = more(value, at)")


def _optional(branches: Sequence[Schema], name: str) -> Iterator[str]:
    """Yield code for a union of null and one other type."""
    if len(branches) != 2 or "null" not in branches:  # noqa: PLR2004 - null and the other
        raise _UnknownTypeError
    null = branches.index("null")
    yield from ("branch = value[at]", "at += 1", f"if branch == {null * 2}:", f" {name} = None")
    yield f"elif branch == {2 - null * 2}:"
    yield from (f" {line}" for line in _lines(branches[1 - null], name))
    yield from ("else:", " raise ValueError")


def _array(items: Schema, name: str) -> Iterator[str]:
    """Yield code for blocks of a count and as many items. An empty block is the end."""
    if not isinstance(items, str):
        # Nested lists would need their own variables.
        raise _UnknownTypeError
    yield from (f"{name} = []", "while value[at]:")
    yield from (f" {line}" for line in _number("count"))
    # After a negative count comes the block's size. No writer of events uses this, nor a zero of several bytes. Each
    # item takes at least one byte.
    yield from (" if count & 1 or not 0 < count >> 1 <= len(value) - at:", "  raise ValueError")
    yield " for _ in range(count >> 1):"
    yield from (f"  {line}" for line in _lines(items, "item"))
    yield from (f"  {name}.append(item)", "at += 1")


def _more(value: bytes, at: int) -> tuple[int, int]:
    """Return a number of several bytes, still in zigzag form, and its end. Its first byte is before `at`."""
    number = value[at - 1] & _MORE
    for shift in _SHIFTS:
        byte = value[at]
        at += 1
        number |= (byte & _MORE) << shift
        if byte <= _MORE:
            break
    else:
        raise OverflowError  # without a limit, a long value would take quadratic time
    if number >> 64:
        raise OverflowError
    return number, at


def _with_plain_uuids(schema: Schema) -> Schema:
    return _changed(schema, lambda part: "string" if part.get("logicalType") == "uuid" else part)


def _with_short_decimals(schema: Schema) -> Schema:
    return _changed(schema, lambda part: {**part, "logicalType": _SHORT_DECIMAL} if _is_decimal(part) else part)


def _is_decimal(part: dict[str, object]) -> bool:
    return part.get("logicalType") == "decimal"


def _changed(schema: Schema, change: Callable[[dict[str, object]], Schema]) -> Schema:
    """Return a schema with a change of each type that has properties."""
    if isinstance(schema, list):
        return [_changed(branch, change) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    changed = change(schema)
    if not isinstance(changed, dict):
        return changed
    return {
        name: _changed(part, change)
        if name in {"type", "items", "values"}
        else [_changed(field, change) for field in part]
        if name == "fields"
        else part
        for name, part in changed.items()
    }


def _register_short_decimal(name: str) -> None:
    """Add the reader of short decimals to fastavro. Its own readers stay as they are."""
    read_any = LOGICAL_READERS[f"{name}-decimal"]

    def read(data: bytes, writer: dict[str, object] | None = None, reader: dict[str, object] | None = None) -> object:
        if len(data) > MAX_DECIMAL:
            message = f"a decimal has {len(data)} bytes, more than {MAX_DECIMAL}"
            raise ValueError(message)
        return read_any(data, writer, reader)

    LOGICAL_READERS[f"{name}-{_SHORT_DECIMAL}"] = read


_register_short_decimal("bytes")
_register_short_decimal("fixed")
