"""Avro bytes to a record's fields, in a fraction of fastavro's time.

The schema that records were written with is turned into one Python function, as `dataclasses` makes methods: a call a
field would cost more than the reading. It knows the types that events have, and bytes that are as they should be. A
type that it does not know, bytes that it stumbles over, and records that another schema reads are left to fastavro,
which then also says what is wrong. UUIDs stay the texts that they are on the wire: Pydantic parses these in a tenth of
the time that `uuid.UUID` takes.

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
"""Reads the fields of the one record in a value. Raises many kinds of errors on foreign bytes."""

PREFIX_LENGTH = 5
"""Bytes before the Avro in a value: a zero and four of the schema's id."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MORE = 127
"""The largest byte that is a whole number by itself."""
_STUMBLED = (ValueError, LookupError, ArithmeticError)
"""What the function raises on bytes that are not as they should be."""


class _UnknownTypeError(Exception):
    """A schema that is left to fastavro."""


def field_reader(writer: Mapping[str, object], wanted: Mapping[str, object] | None) -> FieldReader:
    """The reader of values written with one record schema, as another has them (None: as they were written)."""
    written = fastavro.parse_schema(_with_plain_uuids(dict(writer)))
    read_as = None if wanted is None else fastavro.parse_schema(_with_plain_uuids(dict(wanted)))

    def by_fastavro(value: bytes) -> Fields:
        buffer = io.BytesIO(value)
        buffer.seek(PREFIX_LENGTH)
        found = fastavro.schemaless_reader(buffer, written, read_as)
        if buffer.tell() != len(value):
            message = f"{len(value) - buffer.tell()} bytes are left behind the record"
            raise ValueError(message)
        return cast("Fields", found)

    if wanted is not None:
        return by_fastavro
    try:
        fast = _compiled(writer)
    except _UnknownTypeError:
        return by_fastavro

    def read(value: bytes) -> Fields:
        try:
            return fast(value)
        except _STUMBLED:
            return by_fastavro(value)

    return read


def _compiled(schema: Mapping[str, object]) -> FieldReader:
    """The function for a record. Of the schema its text has types that are known and names as literals, no more."""
    fields = schema.get("fields")
    if schema.get("type") != "record" or not isinstance(fields, list):
        raise _UnknownTypeError
    lines = ["def read(value):", f" at = {PREFIX_LENGTH}"]
    for place, field in enumerate(fields):
        lines += (f" {line}" for line in _lines(field["type"], f"v{place}"))
    found = ", ".join(f"{str(field['name'])!r}: v{place}" for place, field in enumerate(fields))
    lines += [" if at != len(value):", "  raise ValueError", f" return {{{found}}}"]
    scope: dict[str, object] = {"more": _more, "epoch": _EPOCH, "span": timedelta}
    exec("\n".join(lines), scope)  # noqa: S102 - see above
    return cast("FieldReader", scope["read"])


def _lines(schema: Schema, name: str) -> Iterator[str]:
    """Python that reads a value at `at` into a variable, and moves `at` behind it."""
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
    """A number of one byte is read in place; most are lengths, and branches of unions."""
    yield from (f"{name} = value[at]", "at += 1", f"if {name} > {_MORE}:", f" {name}, at = more(value, at)")


def _optional(branches: Sequence[Schema], name: str) -> Iterator[str]:
    """A union of null and one other type."""
    if len(branches) != 2 or "null" not in branches:  # noqa: PLR2004 - null and the other
        raise _UnknownTypeError
    null = branches.index("null")
    yield from ("branch = value[at]", "at += 1", f"if branch == {null * 2}:", f" {name} = None")
    yield f"elif branch == {2 - null * 2}:"
    yield from (f" {line}" for line in _lines(branches[1 - null], name))
    yield from ("else:", " raise ValueError")


def _array(items: Schema, name: str) -> Iterator[str]:
    """Blocks of a count and so many items; the end is a block of none."""
    if not isinstance(items, str):
        # Nested lists would need variables of their own.
        raise _UnknownTypeError
    yield from (f"{name} = []", "while value[at]:")
    yield from (f" {line}" for line in _number("count"))
    # A negative count has the block's size behind it, which no writer of events gives.
    yield from (" if count & 1:", "  raise ValueError", " for _ in range(count >> 1):")
    yield from (f"  {line}" for line in _lines(items, "item"))
    yield from (f"  {name}.append(item)", "at += 1")


def _more(value: bytes, at: int) -> tuple[int, int]:
    """A number of several bytes, whose first stands before `at`, still zigzag; and where it ends."""
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
