"""Bytes and schemas of strangers cost no more than their length, and never end the process."""

import io
import time

import fastavro
import pytest

from schemas.avro_type import BadSchemaError, parse
from schemas.registry import FileRegistry, RegisteredSchema
from streams.codec.avro_reader import MAX_DECIMAL, PREFIX_LENGTH, field_reader
from streams.codec.nesting import MAX_DEPTH
from streams.schema_registry.schema_limits import is_recursive, readable_type
from tests.support.avro_values import MADE_UP, compare, record

PREFIX = bytes(PREFIX_LENGTH)
MEGABYTE = 1_000_000
MOST_SECONDS = 2.0
"""The limit of processor time for one value of a megabyte. A quadratic reader takes a minute or more."""
TREE = MADE_UP["tree"]


def seconds_until_rejected(schema: dict[str, object], value: bytes) -> float:
    read, started = field_reader(schema, None), time.thread_time()
    with pytest.raises((ValueError, EOFError, LookupError, ArithmeticError)):
        read(PREFIX + value)
    return time.thread_time() - started


@pytest.mark.requirement(
    "Faults of others", "L6: the own Avro reader and fastavro agree on any bytes, also on long ones"
)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_reader_and_fastavro_agree_on_any_bytes(seed: int) -> None:
    figures = compare(6_000, seed)
    assert figures.differences == []
    assert min(figures.read, figures.rejected) > 1_000  # both kinds were tried


@pytest.mark.requirement("Faults of others", "H3: a number of a megabyte is rejected in linear time")
@pytest.mark.parametrize("kind", ["long", "int", "string", {"type": "array", "items": "string"}])
def test_a_number_of_a_megabyte_is_rejected_in_linear_time(kind: object) -> None:
    assert seconds_until_rejected(record("One", a=kind), b"\xff" * MEGABYTE) < MOST_SECONDS


@pytest.mark.requirement("Faults of others", "H3: a number of a megabyte is rejected in linear time")
def test_a_number_of_ten_bytes_is_read() -> None:
    read = field_reader(record("One", a="long"), None)
    assert read(PREFIX + b"\xff" * 9 + b"\x01") == {"a": -(2**63)}


@pytest.mark.requirement("Faults of others", "L5: lists of things without bytes are rejected by their schema")
@pytest.mark.parametrize(
    "items",
    [
        "null",
        record("Empty"),
        record("Nulls", a="null", b=record("Inner", c="null")),
        {"type": "fixed", "name": "None", "size": 0},
    ],
)
def test_a_list_of_items_without_bytes_is_rejected_by_its_schema(items: object) -> None:
    for schema in (
        record("One", a={"type": "array", "items": items}),
        record("One", a=["null", record("Between", b={"type": "map", "values": {"type": "array", "items": items}})]),
    ):
        with pytest.raises(match="take no bytes"):
            field_reader(schema, None)
        with pytest.raises(match="take no bytes"):
            field_reader(schema, record("One", a="long"))  # skipping a field takes as long as reading it


@pytest.mark.requirement("Faults of others", "L5: lists of things without bytes are rejected by their schema")
def test_a_record_that_multiplies_nulls_is_rejected() -> None:
    inner: object = "null"
    for level in range(40):
        inner = record(f"Level{level}", a=inner, b=inner if level == 0 else f"Level{level - 1}")
    with pytest.raises(match="more than 1000 values"):
        field_reader(record("One", a=inner), None)


def test_a_record_of_itself_alone_and_a_negative_size_are_rejected() -> None:
    with pytest.raises(BadSchemaError):
        field_reader(record("One", a="One"), None)
    with pytest.raises(match="negative"):
        field_reader(record("One", a={"type": "fixed", "name": "Less", "size": -1}), None)


def test_nested_schemas_without_end_are_an_error() -> None:
    kind: object = "long"
    for _ in range(100_000):
        kind = {"type": "array", "items": kind}
    with pytest.raises((BadSchemaError, RecursionError)):
        field_reader(record("One", a=kind), None)


@pytest.mark.parametrize("registered", list(FileRegistry()), ids=lambda one: str(one.file))
def test_every_committed_schema_can_be_read(registered: RegisteredSchema) -> None:
    assert not is_recursive(readable_type(registered.schema))


@pytest.mark.requirement("Faults of others", "H3: records nested without end are rejected, and the process goes on")
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 10_000, MEGABYTE])
def test_records_nested_without_end_are_rejected(depth: int) -> None:
    assert seconds_until_rejected(TREE, b"\x00\x02" * depth + b"\x00\x00" + b"\x00" * depth) < MOST_SECONDS
    assert seconds_until_rejected(TREE, b"\x00\x00\x02" * depth) < MOST_SECONDS


@pytest.mark.requirement("Faults of others", "H3: records nested without end are rejected, and the process goes on")
def test_a_tree_of_usual_depth_is_read() -> None:
    tree: dict[str, object] = {"label": "leaf", "next": None, "children": []}
    for _ in range(MAX_DEPTH - 1):
        tree = {"label": "é" * 100, "next": tree, "children": [{"label": "b", "next": None, "children": []}] * 2}
    buffer = io.BytesIO(PREFIX)
    buffer.seek(len(PREFIX))
    fastavro.schemaless_writer(buffer, TREE, tree)
    with pytest.raises(ValueError, match="nested"):
        field_reader(record("Outer", a=TREE), None)(buffer.getvalue())
    assert is_recursive(parse(TREE))
    # The children of the deepest record but one are as deep as that record's `next`.
    assert field_reader(TREE, None)(buffer.getvalue()) == tree


@pytest.mark.parametrize(
    "value",
    [
        b"\x02a\x05",  # a branch that the union does not have
        b"\x01",  # a text of -1 bytes
        b"\x02a\x00" + b"\xfe\xff\xff\xff\x0f",  # two thousand million children
        b"\x02a\x00" + b"\xff" * 20,  # a number of twenty bytes
        b"\x02a",
        b"",
    ],
)
def test_bytes_that_are_no_tree_are_rejected(value: bytes) -> None:
    assert seconds_until_rejected(TREE, value) < MOST_SECONDS


def test_a_block_with_its_size_is_read() -> None:
    assert field_reader(TREE, None)(PREFIX + b"\x02a\x00" + b"\x01\x06\x00\x00\x00" + b"\x00") == {
        "label": "a", "next": None, "children": [{"label": "", "next": None, "children": []}],
    }  # fmt: skip


@pytest.mark.requirement("Faults of others", "H3: a decimal of a megabyte is rejected in linear time")
def test_a_long_decimal_is_rejected_before_it_is_converted() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, record("One", a="bytes"), {"a": b"\x7f" * MEGABYTE})
    assert seconds_until_rejected(record("One", a=decimal), buffer.getvalue()) < MOST_SECONDS
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, record("One", a="bytes"), {"a": b"\x00" * (MAX_DECIMAL - 1) + b"\x7b"})
    assert str(field_reader(record("One", a=decimal), None)(PREFIX + buffer.getvalue())["a"]) == "1.23"
