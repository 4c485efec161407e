"""Compares the codec's Avro reader with fastavro on valid, mutated and random bytes of many schemas."""

import io
import math
import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro

from schemas.registry import FileRegistry
from streams.codec.avro_reader import Fields, field_reader

PREFIX = bytes(5)
Schema = dict[str, object]
LONG = 100_000
"""Bytes of the long inputs."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = ("", "a", "é", "🦊", "a" * 63, "a" * 64, "b" * 200, "0192c1f8-0000-7000-8000-000000000000")
_RUNS = (b"\xff", b"\x80", b"\x00", b"\x02", b"\x01", b"\x7f", b"\x82\x00", b"\x80\x00")
"""Bytes that mean something: parts of long numbers, ends of lists, branches, a zero of several bytes."""


def record(name: str, **types: object) -> Schema:
    """Return the schema of a record with these fields."""
    return {"type": "record", "name": name, "fields": [{"name": one, "type": kind} for one, kind in types.items()]}


MADE_UP = {
    "scalars": record("Scalars", a="int", b="long", c="boolean", d="string", e=["null", "long"], f=["string", "null"]),
    "lists": record("Lists", a={"type": "array", "items": "string"}, b=["null", {"type": "array", "items": "long"}]),
    "booleans": record("Booleans", a={"type": "array", "items": "boolean"}, b={"type": "array", "items": "int"}),
    "slow": record("Slow", a="double", b="float", c="bytes", d={"type": "map", "values": ["null", "string", "long"]}),
    "named": record(
        "Named",
        a={"type": "enum", "name": "Colour", "symbols": ["red", "green"]},
        b={"type": "fixed", "name": "Four", "size": 4},
        c={"type": "array", "items": record("Inner", x="boolean", y=["null", "Colour"])},
        d={"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2},
    ),
    "times": record(
        "Times",
        a={"type": "long", "logicalType": "timestamp-micros"},
        b={"type": "array", "items": "string"},
        c={"type": "int", "logicalType": "date"},
    ),
    "tree": record("Tree", label="string", next=["null", "Tree"], children={"type": "array", "items": "Tree"}),
}
"""Schemas with the types that the reader compiles, leaves to fastavro, or reads after a check of their depth."""


@dataclass(slots=True)
class Figures:
    """The number of inputs by outcome."""

    read: int = 0
    rejected: int = 0
    differences: list[str] = field(default_factory=list)
    """Inputs on which the reader and fastavro disagree."""

    @property
    def inputs(self) -> int:
        """The number of all inputs."""
        return self.read + self.rejected


def compare(inputs: int, seed: int, long_every: int = 1_000) -> Figures:
    """Read as many inputs of every schema with both readers.

    Args:
        inputs: The number of inputs.
        seed: The seed of the random numbers.
        long_every: One of so many inputs is long.
    """
    chosen = random.Random(seed)
    figures = Figures()
    readers = [_Readers(name, schema) for name, schema in all_schemas().items()]
    for number in range(inputs):
        one = readers[number % len(readers)]
        value = _input(chosen, one.schema, longer=number % long_every == 0)
        one.compare(value, figures)
    return figures


def all_schemas() -> dict[str, Schema]:
    """Return the committed schemas and the made-up ones by name."""
    return {registered.file: registered.schema for registered in FileRegistry()} | MADE_UP


class _Readers:
    def __init__(self, name: str, schema: Schema) -> None:
        self.schema = schema
        self._name = name
        self._read = field_reader(schema, None)
        self._plain = fastavro.parse_schema(_plain_uuids(schema))
        self._is_stricter = name == "tree"

    def compare(self, value: bytes, figures: Figures) -> None:
        try:
            found = self._read(value)
        except Exception:  # noqa: BLE001 - foreign bytes raise many kinds
            figures.rejected += 1
            # fastavro ends the process if a value of a recursive schema is nested deeply.
            if not self._is_stricter and self._is_readable(value):
                figures.differences.append(f"{self._name}: rejected {_shown(value)}")
            return
        figures.read += 1
        try:
            wanted = self._by_fastavro(value)
        except Exception as error:  # noqa: BLE001 - see above
            figures.differences.append(f"{self._name}: read {_shown(value)}, fastavro: {error!r}")
        else:
            if not _equal(found, wanted):
                figures.differences.append(f"{self._name}: another value of {_shown(value)}")

    def _is_readable(self, value: bytes) -> bool:
        try:
            self._by_fastavro(value)
        except Exception:  # noqa: BLE001 - see above
            return False
        return True

    def _by_fastavro(self, value: bytes) -> Fields:
        buffer = io.BytesIO(value)
        buffer.seek(len(PREFIX))
        found = fastavro.schemaless_reader(buffer, self._plain, None)
        if buffer.tell() != len(value):
            message = "bytes follow the record"
            raise ValueError(message)
        assert isinstance(found, dict)
        return found


def _input(chosen: random.Random, schema: Schema, *, longer: bool) -> bytes:
    value = chosen.randbytes(chosen.randrange(60)) if chosen.random() < 0.1 else _written(chosen, schema)
    for _ in range(chosen.choice((0, 0, 1, 1, 2, 4))):
        value = chosen.choice(_MUTATIONS)(chosen, value)
    if longer:
        place = chosen.randrange(len(value) + 1)
        run = chosen.choice(_RUNS)
        value = value[:place] + run * (LONG // len(run)) + value[place:]
    return PREFIX + value


def _written(chosen: random.Random, schema: Schema) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, _Values(chosen).of(schema))
    return buffer.getvalue()


def _flipped(chosen: random.Random, value: bytes) -> bytes:
    place = chosen.randrange(len(value) + 1)
    return value[:place] + bytes([chosen.randrange(256)]) + value[place + 1 :]


def _cut(chosen: random.Random, value: bytes) -> bytes:
    return value[: chosen.randrange(len(value) + 1)]


def _inserted(chosen: random.Random, value: bytes) -> bytes:
    place = chosen.randrange(len(value) + 1)
    return value[:place] + chosen.choice(_RUNS) * chosen.randrange(1, 12) + value[place:]


def _removed(chosen: random.Random, value: bytes) -> bytes:
    place = chosen.randrange(len(value) + 1)
    return value[:place] + value[place + chosen.randrange(1, 4) :]


def _overlong(chosen: random.Random, value: bytes) -> bytes:
    """Write one number with more bytes than it needs."""
    if not value:
        return value
    place = chosen.randrange(len(value))
    return value[:place] + bytes([value[place] | 128]) + b"\x80" * chosen.randrange(12) + b"\x00" + value[place + 1 :]


def _counted(chosen: random.Random, value: bytes) -> bytes:
    """Write a huge or negative number somewhere."""
    place = chosen.randrange(len(value) + 1)
    number = b"\xff" * chosen.randrange(9) + bytes([chosen.randrange(128)])
    return value[:place] + number + value[place + 1 :]


_MUTATIONS = (_flipped, _cut, _inserted, _removed, _overlong, _counted)


class _Values:
    """Random values that fastavro writes as the types of one schema."""

    def __init__(self, chosen: random.Random) -> None:
        self._chosen = chosen
        self._named: dict[str, Mapping[str, object]] = {}
        """The records, enums and fixed types by name: a later field may be of the same type."""

    def of(self, kind: object, depth: int = 0) -> object:
        """Return a value of a type. Below a few levels, lists are empty and options are null."""
        if isinstance(kind, list):
            return self.of("null" if depth > 5 and "null" in kind else self._chosen.choice(kind), depth + 1)
        if isinstance(kind, dict):
            return self._of_type(kind, depth)
        assert isinstance(kind, str)
        return self.of(self._named[kind], depth) if kind in self._named else _PRIMITIVES[kind](self._chosen)

    def _of_type(self, kind: Mapping[str, Any], depth: int) -> object:
        if kind.get("logicalType") in _LOGICAL:
            return _LOGICAL[kind["logicalType"]](self._chosen)
        if kind["type"] in {"record", "enum", "fixed"}:
            self._named[kind["name"]] = kind
            return self._of_named(kind, depth + 1)
        if kind["type"] == "array":
            return [self.of(kind["items"], depth + 1) for _ in range(self._length(depth))]
        if kind["type"] == "map":
            return {text: self.of(kind["values"], depth + 1) for text in self._chosen.sample(_TEXTS, 2)}
        return self.of(kind["type"], depth)

    def _of_named(self, kind: Mapping[str, Any], depth: int) -> object:
        if kind["type"] == "record":
            return {one["name"]: self.of(one["type"], depth) for one in kind["fields"]}
        return self._chosen.choice(kind["symbols"]) if kind["type"] == "enum" else self._chosen.randbytes(kind["size"])

    def _length(self, depth: int) -> int:
        lengths = (0, 0, 1, 2, 70)
        return self._chosen.choice(lengths[: max(1, len(lengths) - depth)])


_LOGICAL: dict[object, Callable[[random.Random], object]] = {
    "uuid": lambda chosen: "".join(chosen.choices("0123456789abcdef-", k=36)),
    "timestamp-micros": lambda chosen: _EPOCH + timedelta(microseconds=chosen.randrange(-(2**55), 2**56)),
    "date": lambda chosen: (_EPOCH + timedelta(days=chosen.randrange(-700_000, 2_900_000))).date(),
    "decimal": lambda chosen: Decimal(chosen.randrange(-(10**18), 10**18)) / 100,
}
_PRIMITIVES: dict[str, Callable[[random.Random], object]] = {
    "null": lambda _: None,
    "boolean": lambda chosen: chosen.random() < 0.5,
    "int": lambda chosen: chosen.choice((0, -1, 63, 64, chosen.randrange(-(2**31), 2**31))),
    "long": lambda chosen: chosen.choice((0, -1, 63, 64, chosen.randrange(-(2**63), 2**63))),
    "float": lambda chosen: chosen.choice((0.0, 0.5, -1.25, math.inf)),
    "double": lambda chosen: chosen.choice((0.0, 0.5, -1.25, math.nan)),
    "bytes": lambda chosen: chosen.randbytes(chosen.randrange(20)),
    "string": lambda chosen: chosen.choice((*_TEXTS, "".join(chosen.choices(string.printable, k=20)))),
}


def _plain_uuids(kind: Any) -> Any:  # noqa: ANN401 - any part of a schema's JSON
    if isinstance(kind, list):
        return [_plain_uuids(one) for one in kind]
    if not isinstance(kind, dict):
        return kind
    return "string" if kind.get("logicalType") == "uuid" else {name: _plain_uuids(part) for name, part in kind.items()}


def _equal(found: object, wanted: object) -> bool:
    return found == wanted or repr(found) == repr(wanted)  # NaN is not equal to itself


def _shown(value: bytes) -> str:
    return f"{value[:80].hex()}{'…' if len(value) > 80 else ''} ({len(value)} bytes)"
