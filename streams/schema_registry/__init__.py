"""Schema registries: the committed folder, or a registry over HTTP."""

from streams.schema_registry.clients import SchemaNotFetchedError
from streams.schema_registry.confluent import IncompatibleSchemaError

__all__ = ["IncompatibleSchemaError", "SchemaNotFetchedError"]
