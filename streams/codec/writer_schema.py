"""Values read by the schema that they were written with, whatever this version's classes are: to mask what it marks."""

import io

import fastavro

from schemas.registry import RegisteredSchema, RegistryUnavailableError
from schemas.sensitivity import Marks, Sensitivity, marks_of, marks_of_schema
from streams.codec.avro_reader import PREFIX_LENGTH
from streams.observability.redaction import blanked
from streams.schema_registry.clients import Registry, SchemaNotFetchedError
from streams.topics import Catalogue, UnknownEventError

MAGIC = b"\x00"


class WriterSchemas:
    """What is known of values in Confluent's wire format, event or not."""

    def __init__(self, registry: Registry, catalogue: Catalogue) -> None:
        self._registry = registry
        self._catalogue = catalogue

    def marks(self, topic: str, value: bytes | None) -> Marks | None:
        """What is marked in a record of a topic: by its event's class here, and by the schema that it was written with.

        None: nothing. A topic or schema that is not known marks nothing.
        """
        registered = self._schema(value)
        written = marks_of_schema(registered.schema) if registered is not None else None
        try:
            declared = marks_of(self._catalogue.topic(topic).event)
        except UnknownEventError:
            declared = None
        return {**(declared or {}), **(written or {})} or None

    def fields(self, value: bytes) -> dict[str, object] | None:
        """The fields of a value by the schema that it was written with, whatever the class is now; None: not known."""
        registered = self._schema(value)
        if registered is None:
            return None
        buffer = io.BytesIO(value)
        buffer.seek(PREFIX_LENGTH)
        try:
            found = fastavro.schemaless_reader(buffer, fastavro.parse_schema(registered.schema))
        except Exception:  # noqa: BLE001 - fastavro raises many kinds on foreign bytes; all mean the same here
            return None
        return found if isinstance(found, dict) else None

    def without_secrets(self, topic: str, value: bytes | None) -> bytes | None:
        """The value, encoded anew with its secret fields masked; None where it cannot be read, or not be written so."""
        fields, marks = None if value is None else self.fields(value), self.marks(topic, value)
        registered = self._schema(value)
        if value is None or registered is None or fields is None or marks is None:
            return None
        buffer = io.BytesIO()
        buffer.write(value[:PREFIX_LENGTH])
        try:
            schema = fastavro.parse_schema(registered.schema)
            fastavro.schemaless_writer(buffer, schema, blanked(fields, marks, Sensitivity.SECRET))
        except Exception:  # noqa: BLE001 - such as an enumeration, which has no masked value
            return None
        return buffer.getvalue()

    def _schema(self, value: bytes | None) -> RegisteredSchema | None:
        if value is None or value[:1] != MAGIC:
            return None
        try:
            return self._registry.by_id(int.from_bytes(value[1:PREFIX_LENGTH], "big"))
        except (RegistryUnavailableError, SchemaNotFetchedError):  # it counts as not known; nobody waits for it here
            return None
