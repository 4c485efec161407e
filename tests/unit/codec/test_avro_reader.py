"""The compiled function of a schema returns the same as fastavro, for valid and for invalid bytes."""

import io
from datetime import UTC, datetime
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.registry import FileRegistry
from streams.codec import avro_reader
from streams.codec.avro_reader import Fields, field_reader

PREFIX = bytes(5)
TIME = {"type": "long", "logicalType": "timestamp-micros"}
UUID_TEXT = {"type": "string", "logicalType": "uuid"}
SCHEMA: dict[str, object] = {
    "type": "record",
    "name": "Seen",
    "fields": [
        {"name": "id", "type": UUID_TEXT},
        {"name": "at", "type": TIME},
        {"name": "maybe", "type": ["null", TIME], "default": None},
        {"name": "text", "type": "string"},
        {"name": "or_text", "type": ["string", "null"]},
        {"name": "number", "type": "long"},
        {"name": "small", "type": "int"},
        {"name": "or_number", "type": ["null", "long"]},
        {"name": "sure", "type": "boolean"},
        {"name": "or_sure", "type": ["null", "boolean"]},
        {"name": "names", "type": {"type": "array", "items": "string"}},
        {"name": "or_numbers", "type": ["null", {"type": "array", "items": "long"}]},
    ],
}
TEXTS_FOR_UUIDS = {
    **SCHEMA,
    "fields": [{"name": "id", "type": "string"}, *SCHEMA["fields"][1:]],  # type: ignore[index]  # a list, see above
}
times = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
longs = st.integers(-(2**63), 2**63 - 1)
values = st.fixed_dictionaries(
    {
        "id": st.uuids(),
        "at": times,
        "maybe": st.none() | times,
        "text": st.text(max_size=200),
        "or_text": st.none() | st.text(),
        "number": longs,
        "small": st.integers(-(2**31), 2**31 - 1),
        "or_number": st.none() | longs,
        "sure": st.booleans(),
        "or_sure": st.none() | st.booleans(),
        "names": st.lists(st.text(), max_size=5),
        "or_numbers": st.none() | st.lists(longs, max_size=100),
    }
)


def written(schema: dict[str, object], fields: Fields) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, fields)
    return PREFIX + buffer.getvalue()


def by_fastavro(value: bytes) -> Fields:
    buffer = io.BytesIO(value)
    buffer.seek(len(PREFIX))
    found = fastavro.schemaless_reader(buffer, TEXTS_FOR_UUIDS, None)
    if buffer.tell() != len(value):
        raise ValueError(value)
    assert isinstance(found, dict)
    return found


@given(values)
def test_it_reads_what_was_written(fields: Fields) -> None:
    assert field_reader(SCHEMA, None)(written(SCHEMA, fields)) == {**fields, "id": str(fields["id"])}


def test_good_bytes_need_no_fastavro(monkeypatch: pytest.MonkeyPatch) -> None:
    fields: Fields = {
        "id": UUID(int=7), "at": datetime(2026, 11, 25, tzinfo=UTC), "maybe": None, "text": "é" * 100, "or_text": "",
        "number": 1, "small": -1, "or_number": 2**40, "sure": True, "or_sure": False, "names": ["a", "b"],
        "or_numbers": list(range(70)),
    }  # fmt: skip
    read, value = field_reader(SCHEMA, None), written(SCHEMA, fields)
    monkeypatch.delattr(fastavro, "schemaless_reader")
    assert read(value) == {**fields, "id": str(fields["id"])}


@given(values, st.data())
def test_bytes_that_are_cut_changed_or_longer_are_read_or_refused_as_by_fastavro(
    fields: Fields, data: st.DataObject
) -> None:
    value = written(SCHEMA, fields)
    place = data.draw(st.integers(len(PREFIX), len(value) - 1))
    spoilt = data.draw(
        st.sampled_from(
            [
                value[:place],
                value + b"\x00",
                value[:place] + bytes([data.draw(st.integers(0, 255))]) + value[place + 1 :],
            ]
        )
    )
    try:
        wanted = by_fastavro(spoilt)
    except Exception:  # noqa: BLE001 - fastavro raises many kinds
        with pytest.raises(Exception):  # noqa: B017, PT011 - and so does what leaves it to fastavro
            field_reader(SCHEMA, None)(spoilt)
    else:
        assert field_reader(SCHEMA, None)(spoilt) == wanted


def test_committed_schemas_without_records_maps_and_real_numbers_are_read_by_a_function_of_their_own() -> None:
    left = set()
    for registered in FileRegistry():
        try:
            assert callable(avro_reader._compiled(registered.schema))
        except avro_reader._UnknownTypeError:
            left.add(registered.subject)
    assert left == {
        "annotation-reply.enabled-value",
        "annotations.import-requested-value",
        "app.draft-workflow-synced-value",
        "mail.requested-value",
        "segment.deleted-value",
        "workflow.draft-variables-deleted-value",
        "workflow.node-execution-saved-value",
    }


def test_types_that_it_does_not_know_are_left_to_fastavro() -> None:
    schema: dict[str, object] = {
        "type": "record",
        "name": "Other",
        "fields": [
            {"name": "map", "type": {"type": "map", "values": "long"}},
            {"name": "ids", "type": {"type": "array", "items": UUID_TEXT}},
            {"name": "real", "type": "double"},
        ],
    }
    fields: Fields = {"map": {"a": 1}, "ids": [str(UUID(int=1))], "real": 0.5}
    assert field_reader(schema, None)(written(schema, fields)) == fields


def test_an_older_schema_s_records_are_read_as_the_newer_has_them() -> None:
    fields = [{"name": "at", "type": TIME}, {"name": "more", "type": "string", "default": "none"}]
    older: dict[str, object] = {"type": "record", "name": "Seen", "fields": fields[:1]}
    newer: dict[str, object] = {"type": "record", "name": "Seen", "fields": fields}
    at = datetime(2026, 11, 25, 1, 2, 3, 456789, tzinfo=UTC)
    assert field_reader(older, newer)(written(older, {"at": at})) == {"at": at, "more": "none"}


def test_a_time_that_no_calendar_has_is_an_error() -> None:
    plain: dict[str, object] = {"type": "record", "name": "Seen", "fields": [{"name": "at", "type": "long"}]}
    timed: dict[str, object] = {"type": "record", "name": "Seen", "fields": [{"name": "at", "type": TIME}]}
    with pytest.raises(OverflowError):
        field_reader(timed, None)(written(plain, {"at": 2**62}))
