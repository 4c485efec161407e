"""Golden bytes: for each version of each event a file with values, and the bytes that stand for them for ever.

`python -m tests.contract.golden` makes the files that are missing, and the bytes of those whose values were written by
hand. It never changes bytes that are there.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fastavro
from fastavro.types import Schema

from schemas.evolution import Allowed
from schemas.registry import FileRegistry, RegisteredSchema

FOLDER = Path(__file__).parent
MAKE = "python -m tests.contract.golden"
_LOGICAL = {
    "uuid": "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
    "timestamp-micros": 1_750_000_000_123_456,
    "timestamp-millis": 1_750_000_000_123,
    "date": 20_254,
    "time-micros": 45_296_000_001,
}
"""What stands for a value of a logical type, as the number or text that is on the wire."""
_PRIMITIVE: dict[str, object] = {
    "null": None,
    "boolean": True,
    "int": -65,
    "long": 5_000_000_000,
    "float": 0.5,
    "double": -1234.5,
    "string": "Grüße 你好",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One record: its values as they are on the wire (a UUID is its text, a time its microseconds), and its bytes."""

    values: dict[str, object]
    hex: str | None
    """Without the registry's five bytes; None: not made yet."""

    @property
    def data(self) -> bytes:
        """The bytes."""
        return bytes.fromhex(self.hex or "")


def file_of(registered: RegisteredSchema) -> Path:
    """Where a version's golden bytes are."""
    return FOLDER / registered.file.replace(".avsc", ".json")


def samples(registered: RegisteredSchema) -> list[Sample]:
    """What is kept of a version; empty where nothing is."""
    path = file_of(registered)
    if not path.exists():
        return []
    return [Sample(one["values"], one.get("hex")) for one in json.loads(path.read_text(encoding="utf-8"))]


def make_missing(registry: FileRegistry) -> list[Path]:
    """Write what is missing; returns the files that were written."""
    written = []
    for registered in registry:
        kept = samples(registered) or [Sample(values, None) for values in _invented(registered)]
        if all(sample.hex for sample in kept):
            continue
        plain = fastavro.parse_schema(on_the_wire(registered.schema))
        rows = [{"values": one.values, "hex": one.hex or encoded(plain, one.values).hex()} for one in kept]
        file_of(registered).write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(file_of(registered))
    return written


def encoded(schema: Schema, values: dict[str, object]) -> bytes:
    """Avro of a schema that was parsed."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, values)
    return buffer.getvalue()


def on_the_wire(schema: Schema) -> Schema:
    """The schema without its logical types: what is on the wire, and what Avro's JSON shows."""
    if isinstance(schema, list):
        return [on_the_wire(branch) for branch in schema]
    if isinstance(schema, dict):
        return {name: on_the_wire(part) for name, part in schema.items() if name != "logicalType"}
    return schema


def _invented(registered: RegisteredSchema) -> Iterator[dict[str, object]]:
    """Two records: one with everything that can be there, one with nothing that need not.

    They take the first text that a class allows; what has a bound or a pattern wants values that are written by hand.
    """
    fields: list[dict[str, Schema]] = list(registered.schema["fields"])  # type: ignore[call-overload] # a list in Avro
    for full in (True, False):
        inventor = _Inventor(registered.allowed or {}, full=full)
        yield {
            str(field["name"]): field["default"] if not full and "default" in field else inventor.value_of(field, "")
            for field in fields
        }


class _Inventor:
    def __init__(self, allowed: Allowed, *, full: bool) -> None:
        self._allowed = allowed
        self._full = full

    def value_of(self, field: dict[str, Schema], place: str) -> object:
        name = str(field["name"])
        return self._value(field["type"], f"{place}.{name}" if place else name)

    def _value(self, kind: Schema, place: str) -> object:  # noqa: PLR0911 - one for each kind of type
        if isinstance(kind, list):
            others = [branch for branch in kind if branch != "null"]
            return self._value(others[0], place) if self._full or "null" not in kind else None
        if isinstance(kind, str):
            texts = self._allowed.get(place, {}).get("enum")
            return texts[0] if isinstance(texts, list) else _PRIMITIVE[kind]
        match kind["type"]:
            case "array":
                return [self._value(kind["items"], f"{place}[]")] * (2 if self._full else 0)
            case "map":
                return {"key": self._value(kind["values"], f"{place}[]")} if self._full else {}
            case "enum":
                return kind["symbols"][-1 if self._full else 0]
            case "record":
                return {field["name"]: self.value_of(field, place) for field in kind["fields"]}
        return _LOGICAL.get(kind.get("logicalType", "")) or self._value(kind["type"], place)
