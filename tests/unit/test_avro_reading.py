"""What is read in a way of our own equals what fastavro reads."""

import io
from datetime import UTC, datetime
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.avro_reading import field_reader

TIME = {"type": "long", "logicalType": "timestamp-micros"}
SCHEMA: dict[str, object] = {
    "type": "record",
    "name": "Seen",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "at", "type": TIME},
        {"name": "maybe", "type": ["null", TIME]},
        {"name": "all", "type": {"type": "array", "items": {"type": "string", "logicalType": "uuid"}}},
    ],
}
times = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.uuids(), times, st.none() | times, st.lists(st.uuids(), max_size=3))
def test_it_reads_what_fastavro_reads(one: UUID, at: datetime, maybe: datetime | None, many: list[UUID]) -> None:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, SCHEMA, {"id": one, "at": at, "maybe": maybe, "all": many})
    buffer.seek(0)
    assert field_reader(SCHEMA, None)(buffer) == {
        "id": str(one),
        "at": at,
        "maybe": maybe,
        "all": [str(other) for other in many],
    }


def test_an_older_schema_s_records_are_read_as_the_newer_has_them() -> None:
    fields = [{"name": "at", "type": TIME}, {"name": "more", "type": "string", "default": "none"}]
    older = {"type": "record", "name": "Seen", "fields": fields[:1]}
    newer = {"type": "record", "name": "Seen", "fields": fields}
    at = datetime(2026, 11, 25, 1, 2, 3, 456789, tzinfo=UTC)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, older, {"at": at})
    buffer.seek(0)
    assert field_reader(older, newer)(buffer) == {"at": at, "more": "none"}


def test_a_time_that_no_calendar_has_is_an_error() -> None:
    buffer = io.BytesIO()
    plain = {"type": "record", "name": "Seen", "fields": [{"name": "at", "type": "long"}]}
    fastavro.schemaless_writer(buffer, plain, {"at": 2**62})
    buffer.seek(0)
    with pytest.raises(OverflowError):
        field_reader({"type": "record", "name": "Seen", "fields": [{"name": "at", "type": TIME}]}, None)(buffer)
