"""Avro's rules for reading records of one schema with another, as a list of mismatches. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from schemas.avro_type import AvroField, AvroType

_PROMOTED: dict[str, frozenset[str]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}
"""The types that a reader may use for a writer's type."""

Obstacle = Literal["missing", "type", "symbols", "name"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A reason why a record of the writer's schema cannot be read with the reader's schema."""

    place: str
    """The field, such as `quota.limit` or `lines[].amount`; empty: the record itself."""
    obstacle: Obstacle
    """The kind of the mismatch.

    missing: the reader's field has no default, and the writer does not have the field. type, name: they differ.
    symbols: the reader's enum does not have all symbols.
    """
    written: str
    """The writer's type in words; for symbols: the ones that the reader does not have."""
    wanted: str
    """The reader's type in words."""


def mismatches(writer: AvroType, reader: AvroType) -> list[Mismatch]:
    """Return what prevents reading every record of the writer's schema; empty: nothing.

    This is Avro 1.12 "Schema Resolution" with one stricter rule: a logical type must not change. Milliseconds that are
    read as microseconds are readable but wrong. Only UUIDs may be read as strings.
    """
    return list(_between(writer, reader, "", frozenset()))


def _between(
    writer: AvroType, reader: AvroType, place: str, seen: frozenset[tuple[AvroType, AvroType]]
) -> Iterator[Mismatch]:
    if "union" in {writer.kind, reader.kind}:
        yield from _between_unions(writer, reader, place, seen)
    elif writer.kind != reader.kind:
        if reader.kind not in _PROMOTED.get(writer.kind, ()) or writer.logical or reader.logical:
            yield Mismatch(place, "type", str(writer), str(reader))
    elif writer.kind in {"array", "map"}:
        yield from _between(writer.parts[0], reader.parts[0], f"{place}[]", seen)
    elif writer.kind in {"record", "enum", "fixed"}:
        yield from _between_named(writer, reader, place, seen)
    elif writer.logical != reader.logical and (writer.logical, reader.logical) != ("uuid", ""):
        yield Mismatch(place, "type", str(writer), str(reader))


def _between_unions(
    writer: AvroType, reader: AvroType, place: str, seen: frozenset[tuple[AvroType, AvroType]]
) -> Iterator[Mismatch]:
    """Compare unions: each branch of the writer must be readable by one branch of the reader."""
    wanted = reader.parts if reader.kind == "union" else (reader,)
    for branch in writer.parts if writer.kind == "union" else (writer,):
        found = [list(_between(branch, candidate, place, seen)) for candidate in wanted]
        if all(found):
            # If a branch has the same kind, its inner mismatch says more than "another type".
            alike = (tried for tried, candidate in zip(found, wanted, strict=True) if _alike(branch, candidate))
            nearest = next(alike, None)
            if nearest is None:
                yield Mismatch(place, "type", str(writer), str(reader))
                return
            yield from nearest


def _alike(writer: AvroType, reader: AvroType) -> bool:
    nested = {"record", "enum", "array", "map"}
    return writer.kind == reader.kind and writer.kind in nested and writer.simple_name == reader.simple_name


def _between_named(
    writer: AvroType, reader: AvroType, place: str, seen: frozenset[tuple[AvroType, AvroType]]
) -> Iterator[Mismatch]:
    if not _same_name(writer, reader):
        yield Mismatch(place, "name", str(writer), str(reader))
    elif writer.kind == "fixed" and (writer.size, writer.logical) != (reader.size, reader.logical):
        yield Mismatch(place, "type", f"{writer} of {writer.size} bytes", f"{reader} of {reader.size} bytes")
    elif writer.kind == "enum" and not reader.has_default:
        unknown = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
        if unknown:
            yield Mismatch(place, "symbols", ", ".join(map(repr, unknown)), str(reader))
    elif writer.kind == "record" and (writer, reader) not in seen:
        yield from _between_records(writer, reader, place, seen | {(writer, reader)})


def _between_records(
    writer: AvroType, reader: AvroType, place: str, seen: frozenset[tuple[AvroType, AvroType]]
) -> Iterator[Mismatch]:
    written = {one.name: one for one in writer.fields}
    for wanted in reader.fields:
        inner = f"{place}.{wanted.name}" if place else wanted.name
        found = _written_as(wanted, written)
        if found is not None:
            yield from _between(found.type, wanted.type, inner, seen)
        elif not wanted.has_default:
            yield Mismatch(inner, "missing", "", str(wanted.type))


def _written_as(wanted: AvroField, written: dict[str, AvroField]) -> AvroField | None:
    """Return the writer's field with the name or an alias of the reader's field."""
    names = (wanted.name, *sorted(wanted.aliases))
    return next((written[name] for name in names if name in written), None)


def _same_name(writer: AvroType, reader: AvroType) -> bool:
    """Compare names without namespaces. The reader may have the writer's name as an alias."""
    known = {reader.simple_name, *(alias.rpartition(".")[2] for alias in reader.aliases)}
    return writer.simple_name in known
