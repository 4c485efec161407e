"""Our Avro has the same bytes as fastavro's for every value. fastavro writes the unknown ones."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import PlainSerializer

from schemas import Event
from schemas.registry import FileRegistry
from streams.codec import build_codec
from streams.codec.avro_writer import EPOCH, compile_writer
from streams.codec.event_fields import has_serializer, utc_text
from tests.support.factories import CATALOGUE, SETTINGS, an_event, make_message

TYPES: Mapping[str, tuple[object, st.SearchStrategy[object]]] = {
    "text": ("string", st.text()),
    "long": ("long", st.integers(-(2**63), 2**63 - 1)),
    "int": ("int", st.integers(-(2**31), 2**31 - 1)),
    "flag": ("boolean", st.booleans()),
    "id": ({"type": "string", "logicalType": "uuid"}, st.uuids()),
    "at": ({"type": "long", "logicalType": "timestamp-micros"}, st.datetimes(timezones=st.just(UTC))),
    "maybe": (["null", "string"], st.none() | st.text()),
    "perhaps": (["long", "null"], st.none() | st.integers(-(2**63), 2**63 - 1)),
    "texts": ({"type": "array", "items": "string"}, st.lists(st.text())),
    "ats": (
        {"type": "array", "items": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        st.lists(st.none() | st.datetimes(timezones=st.just(UTC))),
    ),
}
SCHEMA = {
    "type": "record",
    "name": "Everything",
    "fields": [{"name": name, "type": schema} for name, (schema, _) in TYPES.items()],
}
WRITE, FAST = compile_writer(SCHEMA)
PARSED = fastavro.parse_schema(SCHEMA)
A_VALUE: Mapping[str, object] = {
    "text": "a",
    "long": 1,
    "int": 2,
    "flag": True,
    "id": "3",
    "at": datetime(2026, 1, 2, tzinfo=UTC),
    "maybe": None,
    "perhaps": 4,
    "texts": [],
    "ats": [],
}


def by_fastavro(fields: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, PARSED, fields)
    return buffer.getvalue()


@pytest.mark.requirement("Publishing", "encoding by our own writer gives fastavro's bytes, or its error")
@given(st.fixed_dictionaries({name: values for name, (_, values) in TYPES.items()}))
def test_bytes_are_fastavro_s(fields: dict[str, object]) -> None:
    assert FAST
    assert WRITE(fields) == by_fastavro(fields)


@pytest.mark.requirement("Publishing", "encoding by our own writer gives fastavro's bytes, or its error")
@pytest.mark.parametrize(
    "odd",
    [
        {"long": True},
        {"long": 2**70},
        {"int": 2**40},
        {"long": "1"},
        {"long": 1.5},
        {"text": 5},
        {"text": None},
        {"text": "\ud800"},
        {"flag": 1},
        {"maybe": 5},
        {"at": datetime(2026, 1, 2)},  # noqa: DTZ001 - that it has no offset is the case
        {"at": "2026"},
        {"id": "x" * 100},
        {"texts": ("a", "b")},
        {"texts": [None]},
    ],
)
def test_an_odd_value_ends_as_with_fastavro(odd: dict[str, object]) -> None:
    """The same bytes, or the same error."""
    fields = {**A_VALUE, **odd}

    def outcome(write: object) -> object:
        assert callable(write)
        try:
            return write(fields)
        except Exception as error:  # noqa: BLE001 - whichever it is
            return repr(error)

    assert outcome(WRITE) == outcome(by_fastavro)


def test_a_field_that_is_missing_takes_its_default() -> None:
    fields = [{"name": "a", "type": "string"}, {"name": "b", "type": ["null", "string"], "default": None}]
    write, fast = compile_writer({"type": "record", "name": "R", "fields": fields})
    assert fast
    assert write({"a": "x", "more": 1}) == b"\x02x\x00"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "map", "values": "string"}, {"a": "b"}),
        (["string", "long"], 5),
        ("double", 0.5),
        ({"type": "record", "name": "Inner", "fields": [{"name": "b", "type": "string"}]}, {"b": "c"}),
    ],
)
def test_other_types_are_left_to_fastavro(schema: object, value: object) -> None:
    record = {"type": "record", "name": "R", "fields": [{"name": "a", "type": schema}]}
    write, fast = compile_writer(record)
    assert not fast
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(record), {"a": value})
    assert write({"a": value}) == buffer.getvalue()


def test_events_without_records_maps_and_real_numbers_are_written_fast() -> None:
    slow = {registered.subject for registered in FileRegistry() if not compile_writer(registered.schema)[1]}
    assert slow == {
        "annotation-reply.enabled-value",
        "annotations.import-requested-value",
        "app.draft-workflow-synced-value",
        "mail.requested-value",
        "workflow.draft-variables-deleted-value",
        "workflow.node-execution-saved-value",
    }


@pytest.mark.parametrize("event", [an_event(), make_message()], ids=lambda event: type(event).__name__)
def test_an_event_is_encoded_as_its_dump(event: Event) -> None:
    codec = build_codec(SETTINGS, CATALOGUE)
    registered = FileRegistry().latest(CATALOGUE.subject(CATALOGUE.of(type(event)).name))
    assert registered is not None
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(registered.schema), event.model_dump())
    assert codec.encode(event).value[5:] == buffer.getvalue()


def test_a_class_with_a_serializer_of_its_own_is_dumped() -> None:
    class Loud(Event):
        name: Annotated[str, PlainSerializer(str.upper)]

    assert has_serializer(Loud.__pydantic_core_schema__)
    assert not has_serializer(Event.__pydantic_core_schema__)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_told_as_isoformat_tells_it(at: datetime) -> None:
    assert utc_text((at - EPOCH) // timedelta(microseconds=1)).decode() == at.isoformat()
