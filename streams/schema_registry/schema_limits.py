"""Rejects schemas with which a few bytes take unlimited time and memory to read. No I/O.

Avro allows values that take no bytes: null, an empty record, a fixed of size 0. A list of them has only a count, so ten
bytes may announce 2^63 items. A schema with a million nulls needs no bytes at all.
"""

from schemas.avro_type import AvroType, BadSchemaError, parse

MAX_EMPTY = 1_000
"""The largest number of values that one value may consist of without taking a byte."""


def readable_type(schema: object) -> AvroType:
    """Return the type of a schema whose values can be read in time and memory that grow with their bytes.

    Raises:
        BadSchemaError: The schema is invalid, or a few bytes could stand for any number of values.
        RecursionError: The schema is nested too deeply.
    """
    found = parse(schema)
    _Limits().check(found, "")
    return found


def is_recursive(kind: AvroType) -> bool:
    """Return True if a record contains itself, so that a value may be nested to any depth."""
    return _contains_itself(kind, set(), set())


class _Limits:
    """Counts the values without bytes in each type of one schema. Each type is visited once."""

    def __init__(self) -> None:
        self._empty: dict[AvroType, int] = {}
        self._checked: set[AvroType] = set()
        self._open: set[AvroType] = set()

    def check(self, kind: AvroType, place: str) -> None:
        """Raise BadSchemaError for a type or anything inside it."""
        if kind in self._checked:
            return
        self._checked.add(kind)
        if kind.size < 0:
            message = f"{place or kind}: the size {kind.size} is negative"
            raise BadSchemaError(message)
        if self._values_without_bytes(kind) > MAX_EMPTY:
            message = f"{place or kind}: a value without bytes would consist of more than {MAX_EMPTY} values"
            raise BadSchemaError(message)
        if kind.kind == "array" and self._values_without_bytes(kind.parts[0]):
            message = f"{place or kind}: a list of {kind.parts[0]}, whose values take no bytes"
            raise BadSchemaError(message)
        for part in kind.parts:
            self.check(part, place)
        for field in kind.fields:
            self.check(field.type, f"{place}.{field.name}" if place else field.name)

    def _values_without_bytes(self, kind: AvroType) -> int:
        """Return how many values one value of the type consists of; 0: it takes at least one byte."""
        if kind not in self._empty:
            self._empty[kind] = self._count(kind)
        return self._empty[kind]

    def _count(self, kind: AvroType) -> int:
        if kind.kind == "null" or (kind.kind == "fixed" and kind.size == 0):
            return 1
        if kind.kind != "record":
            return 0  # a number, a length, a branch or the end of a list
        if kind in self._open:
            return MAX_EMPTY + 1  # it contains itself and nothing else, so reading it would never end
        self._open.add(kind)
        counts = [self._values_without_bytes(field.type) for field in kind.fields]
        self._open.discard(kind)
        return 1 + sum(counts) if all(counts) else 0


def _contains_itself(kind: AvroType, within: set[AvroType], checked: set[AvroType]) -> bool:
    if kind in within:
        return True
    if kind in checked:
        return False
    checked.add(kind)
    inner = [*kind.parts, *(field.type for field in kind.fields)]
    return any(_contains_itself(one, within | {kind}, checked) for one in inner)
