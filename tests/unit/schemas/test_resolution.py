"""The gate's rules are the rules for reading records: fastavro confirms each of them."""

import io
import struct
from itertools import product

import fastavro
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.avro_type import BadSchemaError, parse
from schemas.resolution import mismatches

JSON = dict[str, object]
Pair = tuple[object, object]

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
LEAVES: list[object] = [
    *PRIMITIVES,
    {"type": "enum", "name": "Colour", "symbols": ["red", "green"]},
    {"type": "enum", "name": "Colour", "symbols": ["red", "green", "blue"]},
    {"type": "enum", "name": "Colour", "symbols": ["red"], "default": "red"},
    {"type": "enum", "name": "Hue", "symbols": ["red", "green"]},
    {"type": "fixed", "name": "Sum", "size": 2},
    {"type": "fixed", "name": "Sum", "size": 3},
]


def containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Arrays, maps, nested records and unions with distinguishable branches."""
    field = st.builds(
        lambda name, kind, nullable: (
            {"name": name, "type": ["null", kind], "default": None}
            if nullable and not isinstance(kind, list) and kind != "null"
            else {"name": name, "type": kind}
        ),
        st.sampled_from(["a", "b", "c"]),
        inner,
        st.booleans(),
    )
    return st.one_of(
        inner.map(lambda kind: {"type": "array", "items": kind}),
        inner.map(lambda kind: {"type": "map", "values": kind}),
        st.lists(field, max_size=3, unique_by=lambda one: str(one["name"])).map(
            lambda fields: {"type": "record", "name": "Part", "fields": fields}
        ),
        inner.filter(lambda kind: not isinstance(kind, list) and kind != "null").map(lambda kind: ["null", kind]),
    )


def leaves_once(schema: object) -> bool:
    """Return whether no name is defined twice, which is invalid."""
    try:
        fastavro.parse_schema({"type": "record", "name": "R", "fields": [{"name": "f", "type": schema}]})
    except fastavro.schema.SchemaParseException:
        return False
    return True


TYPES = st.recursive(st.sampled_from(LEAVES), containers, max_leaves=4).filter(leaves_once)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Two types, usually similar: one is the other with one part exchanged."""
    writer = draw(TYPES)
    reader = draw(st.one_of(TYPES, st.just(writer), st.just(["null", writer]).filter(valid)))
    return writer, reader


def valid(schema: object) -> bool:
    return not (isinstance(schema, list) and (isinstance(schema[1], list) or schema[1] == "null"))


@pytest.mark.requirement("Schema evolution", "what the gate says is what a reader does")
@example(("int", "long"))
@example((["null", "int"], "int"))
@given(pairs())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_what_the_gate_lets_through_can_be_read_and_what_it_stops_cannot(pair: Pair) -> None:
    writer, reader = (record_of(one) for one in pair)
    found = mismatches(parse(writer), parse(reader))
    unread = [value for value in every(pair[0]) if not readable({"f": value}, writer, reader)]
    assert bool(found) == bool(unread), (found, unread)


@pytest.mark.requirement("Schema evolution", "what the gate says is what a reader does")
@pytest.mark.parametrize(("written", "wanted"), list(product(PRIMITIVES, PRIMITIVES)))
def test_each_primitive_is_read_as_avro_says(written: str, wanted: str) -> None:
    writer, reader = record_of(written), record_of(wanted)
    values = every(written)
    assert (mismatches(parse(writer), parse(reader)) == []) == all(
        readable({"f": value}, writer, reader) for value in values
    )


def test_a_type_may_contain_itself() -> None:
    """The comparison terminates."""
    tree: JSON = {
        "type": "record",
        "name": "Tree",
        "fields": [{"name": "next", "type": ["null", "Tree"], "default": None}, {"name": "n", "type": "int"}],
    }
    wider = {**tree, "fields": [tree["fields"][0], {"name": "n", "type": "long"}]}  # type: ignore[index] # a list
    assert mismatches(parse(tree), parse(wider)) == []
    assert [one.place for one in mismatches(parse(wider), parse(tree))] == ["n"]
    assert list(parse(tree).paths()) == ["next", "n"]


@pytest.mark.requirement("Schema evolution", "what the gate says is what a reader does")
def test_logical_types_have_to_stay() -> None:
    """Stricter than Avro, which would read milliseconds as microseconds."""
    millis, micros = ({"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros"))
    uuid = {"type": "string", "logicalType": "uuid"}
    assert mismatches(parse(millis), parse(micros)) != []
    assert mismatches(parse("long"), parse(micros)) != []
    assert mismatches(parse(uuid), parse("string")) == []
    assert mismatches(parse("string"), parse(uuid)) != []
    price: JSON = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
    assert mismatches(parse(price), parse({**price, "scale": 3})) != []


def test_what_avro_does_not_know_is_left_out() -> None:
    """Unknown properties of a field or type have no effect."""
    plain = record_of("string")
    marked: JSON = {
        **plain,
        "owner": "us",
        "fields": [{"name": "f", "type": {"type": "string", "personal": True}, "secret": True}],
    }
    assert mismatches(parse(plain), parse(marked)) == mismatches(parse(marked), parse(plain)) == []


def test_an_alias_is_another_name_for_reading() -> None:
    writer = record_of("string")
    reader: JSON = {"type": "record", "name": "R", "fields": [{"name": "g", "aliases": ["f"], "type": "string"}]}
    assert mismatches(parse(writer), parse(reader)) == []
    assert readable({"f": "x"}, writer, reader)
    assert [one.place for one in mismatches(parse(reader), parse(writer))] == ["f"]


@pytest.mark.parametrize("schema", [{"type": "nothing"}, "Unknown", 5, {"type": "record", "name": "R", "fields": [1]}])
def test_what_is_no_schema_is_refused(schema: object) -> None:
    with pytest.raises(BadSchemaError):
        parse(schema)


def record_of(kind: object) -> JSON:
    return {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}


def readable(value: object, writer: JSON, reader: JSON) -> bool:
    """Return whether fastavro, which workers use, can read it."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(writer), value)
    buffer.seek(0)
    try:
        fastavro.schemaless_reader(buffer, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
    except (fastavro.read.SchemaResolutionError, ValueError, TypeError, struct.error):
        return False
    return True


def every(kind: object) -> list[object]:  # noqa: PLR0911 - one for each kind of type
    """Return values of a type that use each of its branches, symbols and parts at least once."""
    simple: dict[str, list[object]] = {
        "null": [None],
        "boolean": [True],
        "int": [-1],
        "long": [2**40],
        "float": [1.5],
        "double": [1e300],
        "bytes": [b"x"],
        "string": ["é"],
    }
    match kind:
        case str():
            return simple[kind]
        case list():
            return [value for branch in kind for value in every(branch)]
        case {"type": "enum", "symbols": list(symbols)}:
            return list(symbols)
        case {"type": "fixed", "size": int(size)}:
            return [b"x" * size]
        case {"type": "array", "items": items}:
            return [[value] for value in every(items)]
        case {"type": "map", "values": values}:
            return [{"k": value} for value in every(values)]
        case {"type": "record", "fields": list(fields)}:
            first: JSON = {one["name"]: every(one["type"])[0] for one in fields}
            return [first] + [{**first, one["name"]: value} for one in fields for value in every(one["type"])[1:]]
    raise AssertionError(kind)
