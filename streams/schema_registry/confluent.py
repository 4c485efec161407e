"""A Confluent-compatible schema registry over HTTP, by confluent-kafka's own client. Blocks: a worker asks in a thread.

What is asked once is kept: an id's schema and a schema's id never change. Only that an id is unknown is forgotten after
a while, for it may be registered meanwhile.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, TypeVar

from schemas.registry import FileRegistry, RegisteredSchema, RegistryError, RegistryUnavailableError
from streams.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

T = TypeVar("T")
UNKNOWN_FOR = 30.0
"""Seconds for which an id that the registry does not know is not asked for again."""
UNKNOWN_AT_MOST = 10_000
"""Such ids that are remembered: records of foreign bytes may name any number of them."""
HIGHEST_ID = 2**31 - 1
"""A registry's numbers are Java's; what is above it answers like an address that it does not have."""
_NO_SUCH_SCHEMA = frozenset({40401, 40402, 40403})
"""The registry's own words for a subject, version or schema that it does not have."""
_NOT_FOUND = 404
_REFUSED_SCHEMA = frozenset({409, 422})
_REFUSED = frozenset({401, 403})
_RETRIES = 1
"""For a connection that was closed while it was idle; more would make a caller wait for a multiple of the time-out."""
_RETRY_PAUSE_MS = 100


class IncompatibleSchemaError(RegistryError):
    """The registry does not take a schema beside the versions that it has; the message has its words."""

    __module__ = "streams.schema_registry"


class HttpRegistry:
    """The registry of an address. Thread-safe; one request at a time, so what is asked for by many is asked once."""

    def __init__(self, settings: Settings, files: FileRegistry) -> None:
        """`files`: the schemas that this code's classes stand for; the registry only gives them their ids.

        Makes no connection. Raises RegistryError where the client is not installed or refuses its settings.
        """
        self.url = settings.schema_registry_url
        self.files = files
        self._client = _client(settings)
        self._lock = threading.Lock()
        self._by_id: dict[int, RegisteredSchema] = {}
        self._unknown: dict[int, float] = {}
        self._own: dict[tuple[str, frozenset[str]], RegisteredSchema] = {}
        self._own_unknown: dict[tuple[str, frozenset[str]], float] = {}

    def known(self, schema_id: int) -> RegisteredSchema | None:
        """The schema of an id, as it was told before; None where it is known to be unknown. Asks nobody.

        Raises KeyError where the registry has to be asked.
        """
        if schema_id > HIGHEST_ID:
            return None
        found = self._by_id.get(schema_id)
        if found is None and time.monotonic() >= self._unknown.get(schema_id, 0.0):
            raise KeyError(schema_id)
        return found

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """The schema of an id, or None where the registry does not know it. Raises RegistryUnavailableError."""
        with self._lock:
            try:
                return self.known(schema_id)
            except KeyError:
                told = self._ask(lambda: self._client.get_schema(schema_id))
            if told is None:
                self._note_unknown(schema_id)
                return None
            found = self._by_id[schema_id] = _fetched(schema_id, told)
            return found

    def known_own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """As `own`, of what was told before. Asks nobody. Raises KeyError where the registry has to be asked."""
        found = self._own.get((subject, fields))
        if found is None and time.monotonic() >= self._own_unknown.get((subject, fields), 0.0):
            raise KeyError(subject)
        return found

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """The schema of a class with those fields, under the id that the registry gives to its content.

        Not the subject's newest: a process of the release before goes on with its own version. None where the files, or
        the registry, do not have it. Raises RegistryUnavailableError.
        """
        with self._lock:
            with contextlib.suppress(KeyError):
                return self.known_own(subject, fields)
            told, in_files = None, self.files.own(subject, fields)
            if in_files is not None:
                content = _to_send(in_files)
                told = self._ask(lambda: self._client.lookup_schema(subject, content, normalize_schemas=True))
            if in_files is None or told is None or told.schema_id is None:
                self._own_unknown[subject, fields] = time.monotonic() + UNKNOWN_FOR
                return None
            found = RegisteredSchema(
                told.schema_id, subject, told.version or 0, in_files.file, in_files.schema, in_files.allowed
            )
            self._own[subject, fields] = self._by_id[found.id] = found
            return found

    def register(self, schema: RegisteredSchema) -> int:
        """Put a schema under its subject; returns the id that it has there, be it new or not.

        Raises IncompatibleSchemaError, RegistryUnavailableError.
        """
        with self._lock:
            made = self._ask(
                lambda: self._client.register_schema_full_response(
                    schema.subject, _to_send(schema), normalize_schemas=True
                ),
                refusals=_REFUSED_SCHEMA,
            )
        if made is None or made.schema_id is None:
            message = f"{self.url} gives {schema.subject} no id"
            raise RegistryUnavailableError(message)
        self._unknown.pop(made.schema_id, None)
        self._own_unknown.clear()
        return made.schema_id

    def set_compatibility(self, subject: str, level: str) -> None:
        """Let the registry refuse for a subject what that level does not allow. Raises RegistryUnavailableError."""
        with self._lock:
            self._ask(lambda: self._client.set_compatibility(subject, level))

    def _ask(self, request: Callable[[], T], refusals: Container[int] = ()) -> T | None:
        """What it answers; None where it says that there is no such schema. All else means: nothing is known.

        `refusals`: statuses by which it refuses a schema; IncompatibleSchemaError has its words.
        """
        from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415 - of an extra

        try:
            return request()
        except SchemaRegistryError as error:
            status, code, words = error.http_status_code, error.error_code, error.error_message
            if status == _NOT_FOUND and code in _NO_SUCH_SCHEMA:
                return None
            if status in refusals:
                message = f"{self.url} refuses the schema: {words}"
                raise IncompatibleSchemaError(message) from error
            message = f"the schema registry {self.url} answers {status}: {words}"
            if status in _REFUSED:
                message += "; see STREAMS_SCHEMA_REGISTRY_USERNAME and STREAMS_SCHEMA_REGISTRY_PASSWORD"
            raise RegistryUnavailableError(message) from error
        except Exception as error:  # the client lets through what its HTTP library, ssl and json raise
            message = f"the schema registry {self.url} does not answer: {type(error).__name__}: {error}"
            raise RegistryUnavailableError(message) from error

    def _note_unknown(self, schema_id: int) -> None:
        if len(self._unknown) >= UNKNOWN_AT_MOST:
            self._unknown.clear()
        self._unknown[schema_id] = time.monotonic() + UNKNOWN_FOR


def _client(settings: Settings) -> "SchemaRegistryClient":
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415 - of an extra
        from confluent_kafka.schema_registry.common._httpx_compat import httpx  # noqa: PLC0415 - its own choice
    except ImportError as error:
        message = f"a schema registry over HTTP needs the extra `registry` of this package ({error.name} is missing)"
        raise RegistryError(message) from error
    if any("@" in url for url in settings.schema_registry_url.split(",")):
        message = (
            "STREAMS_SCHEMA_REGISTRY_URL has a password in it, which would be in every message: use "
            "STREAMS_SCHEMA_REGISTRY_USERNAME and STREAMS_SCHEMA_REGISTRY_PASSWORD"
        )
        raise RegistryError(message)
    given: dict[str, object] = {
        "url": settings.schema_registry_url,
        "ssl.ca.location": _text(settings.schema_registry_ca_location),
        "ssl.certificate.location": _text(settings.schema_registry_certificate_location),
        "ssl.key.location": _text(settings.schema_registry_key_location),
        "timeout": httpx.Timeout(
            settings.schema_registry_request_timeout, connect=settings.schema_registry_connect_timeout
        ),
        "max.retries": _RETRIES,
        "retries.wait.ms": _RETRY_PAUSE_MS,
        "retries.max.wait.ms": _RETRY_PAUSE_MS,
    }
    if settings.schema_registry_username is not None:
        password = settings.schema_registry_password
        secret = "" if password is None else password.get_secret_value()
        given["basic.auth.user.info"] = f"{settings.schema_registry_username}:{secret}"
    try:
        return SchemaRegistryClient({name: value for name, value in given.items() if value is not None})
    except (ValueError, TypeError, OSError) as error:
        message = f"the schema registry's settings cannot be used: {error}"
        raise RegistryError(message) from error


def _text(path: object) -> str | None:
    return None if path is None else str(path)


def _to_send(registered: RegisteredSchema) -> "Schema":
    from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 - of an extra

    return Schema(json.dumps(registered.schema), schema_type="AVRO")


def _fetched(schema_id: int, told: "Schema") -> RegisteredSchema:
    """An answer to a question for an id, which names no subject: whose it is, its record's name tells."""
    try:
        content = json.loads(told.schema_str or "")
    except ValueError:  # of another type than Avro, such as Protobuf: no record of ours
        content = {}
    return RegisteredSchema(schema_id, "", 0, "", content if isinstance(content, dict) else {})
