"""An Avro schema as values: names are resolved, unions are lists of branches, unknown properties are left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_OF_LOGICAL_TYPES = ("precision", "scale")
"""The properties that belong to a logical type."""


class BadSchemaError(ValueError):
    """A schema that is invalid by Avro's specification. The message is one line with the place of the error."""


@dataclass(frozen=True, slots=True)
class AvroField:
    """A field of a record."""

    name: str
    aliases: frozenset[str]
    type: "AvroType"
    has_default: bool


@dataclass(slots=True, eq=False)
class AvroType:
    """One type. It is compared by identity, because a record may contain itself."""

    kind: str
    """The name of a primitive, or record, enum, fixed, array, map, union."""
    name: str = ""
    """The full name of a record, enum or fixed."""
    aliases: frozenset[str] = frozenset()
    logical: str = ""
    """The logical type, such as `timestamp-micros` or `decimal(10, 2)`."""
    fields: tuple[AvroField, ...] = ()
    symbols: tuple[str, ...] = ()
    has_default: bool = False
    """For an enum: whether a reader has a default for an unknown symbol."""
    size: int = 0
    parts: tuple["AvroType", ...] = field(default=())
    """The element type of an array or map; the branches of a union."""

    @property
    def simple_name(self) -> str:
        """Return the name without its namespace."""
        return self.name.rpartition(".")[2]

    def __str__(self) -> str:
        match self.kind:
            case "union":
                return " or ".join(map(str, self.parts))
            case "array" | "map":
                return f"{self.kind} of {self.parts[0]}"
            case "record" | "enum" | "fixed":
                return f"{self.kind} {self.simple_name}"
        return f"{self.kind} ({self.logical})" if self.logical else self.kind

    def paths(self, place: str = "", within: frozenset[str] = frozenset()) -> Iterator[str]:
        """Yield every field path, as `quota.limit`, `lines[].amount`. A recursive record is followed once."""
        if self.kind in {"array", "map"}:
            place += "[]"
        for part in self.parts:
            yield from part.paths(place, within)
        if self.kind == "record" and self.name not in within:
            for one in self.fields:
                inner = f"{place}.{one.name}" if place else one.name
                yield inner
                yield from one.type.paths(inner, within | {self.name})


def parse(schema: object) -> AvroType:
    """Parse the JSON of a schema. Raises BadSchemaError."""
    return _Parser().type_of(schema, "")


class _Parser:
    """Parses one schema. A named type is known from its definition on."""

    def __init__(self) -> None:
        self._named: dict[str, AvroType] = {}

    def type_of(self, schema: object, namespace: str) -> AvroType:
        if isinstance(schema, str):
            return self._by_name(schema, namespace)
        if isinstance(schema, list):
            return AvroType("union", parts=tuple(self.type_of(branch, namespace) for branch in schema))
        if isinstance(schema, dict) and "type" in schema:
            return self._typed(schema, namespace)
        message = f"{schema!r} is not an Avro type"
        raise BadSchemaError(message)

    def _typed(self, schema: Mapping[str, object], namespace: str) -> AvroType:
        match schema["type"]:
            case "record" | "error" | "enum" | "fixed":
                return self._definition(schema, namespace)
            case "array":
                return AvroType("array", parts=(self.type_of(schema.get("items"), namespace),))
            case "map":
                return AvroType("map", parts=(self.type_of(schema.get("values"), namespace),))
            case str(kind) if kind in PRIMITIVES:
                return AvroType(kind, logical=_logical(schema))
        return self.type_of(schema["type"], namespace)

    def _by_name(self, name: str, namespace: str) -> AvroType:
        if name in PRIMITIVES:
            return AvroType(name)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        found = self._named.get(full) or self._named.get(name)
        if found is None:
            message = f"the type {name!r} is used but not defined"
            raise BadSchemaError(message)
        return found

    def _definition(self, schema: Mapping[str, object], namespace: str) -> AvroType:
        name, own = str(schema.get("name", "")), schema.get("namespace")
        if "." not in name and (space := str(own) if own is not None else namespace):
            name = f"{space}.{name}"
        kind = "record" if schema["type"] == "error" else str(schema["type"])
        made = AvroType(kind, name, frozenset(_texts(schema, "aliases")))
        made.symbols = tuple(_texts(schema, "symbols"))
        made.has_default = kind == "enum" and "default" in schema
        made.logical = _logical(schema)
        if isinstance(size := schema.get("size"), int):
            made.size = size
        # Registered before its fields are parsed: a field may be of this type.
        self._named[name] = made
        made.fields = tuple(self._fields(schema, name.rpartition(".")[0]))
        return made

    def _fields(self, schema: Mapping[str, object], namespace: str) -> Iterator[AvroField]:
        listed = schema.get("fields", [])
        for one in listed if isinstance(listed, list) else [listed]:
            if not isinstance(one, dict) or "name" not in one or "type" not in one:
                message = f"{schema.get('name')}: each field needs a name and a type"
                raise BadSchemaError(message)
            kind = self.type_of(one["type"], namespace)
            yield AvroField(str(one["name"]), frozenset(_texts(one, "aliases")), kind, "default" in one)


def _texts(schema: Mapping[str, object], name: str) -> list[str]:
    found = schema.get(name, [])
    return [str(text) for text in found] if isinstance(found, list) else []


def _logical(schema: Mapping[str, object]) -> str:
    name = schema.get("logicalType")
    if name is None:
        return ""
    parameters = [str(schema[one]) for one in _OF_LOGICAL_TYPES if one in schema]
    return f"{name}({', '.join(parameters)})" if parameters else str(name)
