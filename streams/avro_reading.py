"""Avro bytes to a record's fields, by fastavro, with what it is slow to read left as it is on the wire.

UUIDs stay texts, which Pydantic parses in a tenth of the time that `uuid.UUID` takes. A time that is a field of the
record itself and never null is read as its microseconds, and made a time here in a tenth of fastavro's time.
"""

import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import fastavro
from fastavro.types import Schema

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FieldReader = Callable[[io.BytesIO], dict[str, object]]
"""Reads the fields of one record from where the buffer stands. Raises many kinds of errors on foreign bytes."""


def field_reader(writer: Mapping[str, object], wanted: Mapping[str, object] | None) -> FieldReader:
    """The reader of records written with one record schema, as another has them (None: as they were written)."""
    written, times = fastavro.parse_schema(_plain(writer)), _times_of(wanted or writer)
    read_as = None if wanted is None else fastavro.parse_schema(_plain(wanted))

    def fields(buffer: io.BytesIO) -> dict[str, object]:
        found = fastavro.schemaless_reader(buffer, written, read_as)
        if not isinstance(found, dict):
            message = "the schema is not that of a record"
            raise TypeError(message)
        for name in times:
            found[name] = _EPOCH + timedelta(microseconds=found[name])
        return found

    return fields


def _plain(record: Mapping[str, object]) -> Schema:
    """A record's schema with texts for UUIDs and numbers for the times of `_times_of`."""
    times = frozenset(_times_of(record))
    fields = record.get("fields")
    numbers = [
        {**field, "type": "long"} if isinstance(field, dict) and field.get("name") in times else field
        for field in (fields if isinstance(fields, list) else [])
    ]
    return _with_plain_uuids({**record, "fields": numbers})


def _times_of(record: Mapping[str, object]) -> tuple[str, ...]:
    fields = record.get("fields")
    return tuple(
        str(field["name"])
        for field in (fields if isinstance(fields, list) else [])
        if isinstance(field, dict)
        and isinstance(field["type"], dict)
        and field["type"].get("logicalType") == "timestamp-micros"
    )


def _with_plain_uuids(schema: Schema) -> Schema:
    if isinstance(schema, list):
        return [_with_plain_uuids(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("logicalType") == "uuid":
        return "string"
    return {
        name: _with_plain_uuids(part)
        if name in {"type", "items", "values"}
        else [_with_plain_uuids(field) for field in part]
        if name == "fields"
        else part
        for name, part in schema.items()
    }
