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
from fastavro.types import Schema

Fields: TypeAlias = dict[str, object]
FieldReader: TypeAlias = Callable[[bytes], Fields]
"""Decodes the fields of the one record in a value. Raises many kinds of errors for foreign bytes."""

PREFIX_LENGTH = 5
"""The number of bytes before the Avro in a value: a zero byte and four bytes of schema id."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MORE = 127
"""The largest byte that is a complete number."""
_BAD_BYTES = (ValueError, LookupError, ArithmeticError)
"""The errors that the function raises for invalid bytes."""


class _UnknownTypeError(Exception):
    """The schema has a type that only fastavro can read."""


def field_reader(writer: Mapping[str, object], wanted: Mapping[str, object] | None) -> FieldReader:
    """Return the reader of values with one record schema. `wanted` is the schema to read them as. None: the same."""
    written = fastavro.parse_schema(_with_plain_uuids(dict(writer)))
    read_as = None if wanted is None else fastavro.parse_schema(_with_plain_uuids(dict(wanted)))

    def slow_read(value: bytes) -> Fields:
        buffer = io.BytesIO(value)
        buffer.seek(PREFIX_LENGTH)
        found = fastavro.schemaless_reader(buffer, written, read_as)
        if buffer.tell() != len(value):
            message = f"{len(value) - buffer.tell()} bytes follow the record"
            raise ValueError(message)
        return cast("Fields", found)

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
    # After a negative count comes the block's size. No writer of events uses this.
    yield from (" if count & 1:", "  raise ValueError", " for _ in range(count >> 1):")
    yield from (f"  {line}" for line in _lines(items, "item"))
    yield from (f"  {name}.append(item)", "at += 1")


def _more(value: bytes, at: int) -> tuple[int, int]:
    """Return a number of several bytes, still in zigzag form, and its end. Its first byte is before `at`."""
    number, shift = value[at - 1] & _MORE, 7
    while True:
        byte = value[at]
        at += 1
        number |= (byte & _MORE) << shift
        if byte <= _MORE:
            break
        shift += 7
    if number >> 64:
        raise OverflowError
    return number, at


def _with_plain_uuids(schema: Schema) -> Schema:
    if isinstance(schema, list):
        return [_with_plain_uuids(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("logicalType") == "uuid":
        return "string"
    return {
        name: _with_plain_uuids(part)
        if name in {"type", "items", "values"}
        else [_with_plain_uuids(field) for field in part]
        if name == "fields"
        else part
        for name, part in schema.items()
    }
