"""Reads values with the schema they were written with, whatever this version's classes are, to mask marked fields."""

import io

import fastavro

from schemas.registry import RegisteredSchema, RegistryUnavailableError
from schemas.sensitivity import Marks, Sensitivity, marks_of, marks_of_schema
from streams.codec.avro_reader import PREFIX_LENGTH, record_reader
from streams.observability.redaction import blanked
from streams.schema_registry.clients import Registry, SchemaNotFetchedError
from streams.topics import Catalogue

MAGIC = b"\x00"


class WriterSchemas:
    """Finds the writer's schemas of values in Confluent's wire format, whether they are events or not."""

    def __init__(self, registry: Registry, catalogue: Catalogue) -> None:
        self._registry = registry
        self._catalogue = catalogue

    def marks(self, topic: str, value: bytes | None) -> Marks | None:
        """Return the marked fields of a topic's record, or None if there are none.

        Both the topic's class and the schema that the value was written with mark fields. An unknown topic or schema
        marks none.
        """
        registered = self._schema(value)
        written = marks_of_schema(registered.schema) if registered is not None else None
        known = self._catalogue.find(topic)
        declared = marks_of(known.event) if known is not None else None
        return {**(declared or {}), **(written or {})} or None

    def fields(self, value: bytes) -> dict[str, object] | None:
        """Return a value's fields by the schema that it was written with, or None if it cannot be read."""
        registered = self._schema(value)
        if registered is None:
            return None
        try:
            found, _ = record_reader(registered.schema)(value)
        except Exception:  # noqa: BLE001 - fastavro raises many kinds for foreign bytes; all mean the same here
            return None
        return found if isinstance(found, dict) else None

    def without_secrets(self, topic: str, value: bytes | None) -> bytes | None:
        """Return the value encoded again with masked secret fields, or None if that is not possible."""
        fields, marks = None if value is None else self.fields(value), self.marks(topic, value)
        registered = self._schema(value)
        if value is None or registered is None or fields is None or marks is None:
            return None
        buffer = io.BytesIO()
        buffer.write(value[:PREFIX_LENGTH])
        try:
            schema = fastavro.parse_schema(registered.schema)
            fastavro.schemaless_writer(buffer, schema, blanked(fields, marks, Sensitivity.SECRET))
        except Exception:  # noqa: BLE001 - for example an enumeration, which has no masked value
            return None
        return buffer.getvalue()

    def _schema(self, value: bytes | None) -> RegisteredSchema | None:
        if value is None or value[:1] != MAGIC:
            return None
        try:
            return self._registry.by_id(int.from_bytes(value[1:PREFIX_LENGTH], "big"))
        except (RegistryUnavailableError, SchemaNotFetchedError):  # the schema counts as unknown; do not wait here
            return None
