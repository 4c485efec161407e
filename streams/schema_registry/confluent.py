"""A Confluent-compatible schema registry over HTTP. It blocks, so a worker calls it in a thread.

Answers are cached for ever, since the schema of an id and the id of a schema never change. Only unknown ids are
forgotten after a while: they may be registered later.
"""

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, TypeVar

from schemas.registry import FileRegistry, RegisteredSchema, RegistryError, RegistryUnavailableError
from streams.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

T = TypeVar("T")
UNKNOWN_SECONDS = 30.0
"""How long an unknown id is not requested again."""
MAX_UNKNOWN = 10_000
"""The maximum number of unknown ids in the cache. Records of foreign bytes may have any number of them."""
MAX_UNKNOWN_ANSWERS = 100
"""Unknown ids that are requested within `UNKNOWN_SECONDS`. Each request holds up the records behind it."""
HIGHEST_ID = 2**31 - 1
"""The largest id: a registry uses Java integers. It answers to larger ids like to an unknown address."""
_NO_SUCH_SCHEMA = frozenset({40401, 40402, 40403})
"""The registry's error codes for an unknown subject, version or schema."""
_NOT_FOUND = 404
_REJECTED_SCHEMA = frozenset({409, 422})
_UNAUTHORIZED = frozenset({401, 403})
_RETRIES = 1
"""One retry, for a connection that was closed while idle. More would multiply the caller's time-out."""
_RETRY_PAUSE_MS = 100


class IncompatibleSchemaError(RegistryError):
    """The registry rejects a schema because of its other versions. The message contains the registry's reason."""

    __module__ = "streams.schema_registry"


class HttpRegistry:
    """A registry client. It is thread-safe. It sends one request at a time, so that equal requests are sent once."""

    def __init__(self, settings: Settings, files: FileRegistry) -> None:
        """Create the client without connecting.

        `files` are the schemas of this version's classes; the registry only assigns their ids. Raises RegistryError
        if the client library is not installed or rejects its settings.
        """
        self.url = settings.schema_registry_url
        self.files = files
        self._client = _client(settings)
        self._lock = threading.Lock()
        self._by_id: dict[int, RegisteredSchema] = {}
        self._unknown: dict[int, float] = {}
        self._unknown_answers: deque[float] = deque(maxlen=MAX_UNKNOWN_ANSWERS)
        """When the registry last answered that it does not know an id."""
        self._own: dict[tuple[str, frozenset[str]], RegisteredSchema] = {}
        self._own_unknown: dict[tuple[str, frozenset[str]], float] = {}

    def cached(self, schema_id: int) -> RegisteredSchema | None:
        """Return the cached schema of an id, or None if the id is known to be unknown. Sends no request.

        After many unknown ids, such as those of foreign bytes, further ones count as unknown for a while.

        Raises KeyError if the registry must be asked.
        """
        if schema_id > HIGHEST_ID:
            return None
        found = self._by_id.get(schema_id)
        now = time.monotonic()
        if found is None and now >= self._unknown.get(schema_id, 0.0) and not self._is_flooded(now):
            raise KeyError(schema_id)
        return found

    def _is_flooded(self, now: float) -> bool:
        answers = self._unknown_answers
        return len(answers) == MAX_UNKNOWN_ANSWERS and now < answers[0] + UNKNOWN_SECONDS

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """Return the schema of an id, or None if the registry does not know it. Raises RegistryUnavailableError."""
        with self._lock:
            try:
                return self.cached(schema_id)
            except KeyError:
                answer = self._request(lambda: self._client.get_schema(schema_id))
            if answer is None:
                self._add_unknown(schema_id)
                return None
            found = self._by_id[schema_id] = _registered(schema_id, answer)
            return found

    def cached_own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """Return the cached result of `own`. Sends no request. Raises KeyError if the registry must be asked."""
        found = self._own.get((subject, fields))
        if found is None and time.monotonic() >= self._own_unknown.get((subject, fields), 0.0):
            raise KeyError(subject)
        return found

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """Return the schema of a class with these fields, with the registry's id for its content.

        This is not always the subject's newest version: a process of the previous release uses its own version.
        Returns None if the files or the registry do not have it. Raises RegistryUnavailableError.
        """
        with self._lock:
            with contextlib.suppress(KeyError):
                return self.cached_own(subject, fields)
            answer, in_files = None, self.files.own(subject, fields)
            if in_files is not None:
                content = _avro_schema(in_files)
                answer = self._request(lambda: self._client.lookup_schema(subject, content, normalize_schemas=True))
            if in_files is None or answer is None or answer.schema_id is None:
                self._own_unknown[subject, fields] = time.monotonic() + UNKNOWN_SECONDS
                return None
            found = RegisteredSchema(
                answer.schema_id, subject, answer.version or 0, in_files.file, in_files.schema, in_files.allowed
            )
            self._own[subject, fields] = self._by_id[found.id] = found
            return found

    def register(self, schema: RegisteredSchema) -> int:
        """Register a schema under its subject and return its id, whether it is new or not.

        Raises IncompatibleSchemaError, RegistryUnavailableError.
        """
        with self._lock:
            made = self._request(
                lambda: self._client.register_schema_full_response(
                    schema.subject, _avro_schema(schema), normalize_schemas=True
                ),
                rejections=_REJECTED_SCHEMA,
            )
        if made is None or made.schema_id is None:
            message = f"{self.url} returned no id for {schema.subject}"
            raise RegistryUnavailableError(message)
        self._unknown.pop(made.schema_id, None)
        self._own_unknown.clear()
        return made.schema_id

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the compatibility level of a subject in the registry. Raises RegistryUnavailableError."""
        with self._lock:
            self._request(lambda: self._client.set_compatibility(subject, level))

    def _request(self, request: Callable[[], T], rejections: Container[int] = ()) -> T | None:
        """Return the answer to a request, or None if there is no such schema.

        Args:
            request: Calls the client.
            rejections: The HTTP statuses that reject a schema.

        Raises:
            IncompatibleSchemaError: The registry rejects the schema.
            RegistryUnavailableError: Any other error.
        """
        from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415 - part of an extra

        try:
            return request()
        except SchemaRegistryError as error:
            status, code, text = error.http_status_code, error.error_code, error.error_message
            if status == _NOT_FOUND and code in _NO_SUCH_SCHEMA:
                return None
            if status in rejections:
                message = f"{self.url} rejects the schema: {text}"
                raise IncompatibleSchemaError(message) from error
            message = f"the schema registry {self.url} answers {status}: {text}"
            if status in _UNAUTHORIZED:
                message += "; see STREAMS_SCHEMA_REGISTRY_USERNAME and STREAMS_SCHEMA_REGISTRY_PASSWORD"
            raise RegistryUnavailableError(message) from error
        except Exception as error:  # the client does not catch the errors of its HTTP library, ssl and json
            message = f"the schema registry {self.url} does not answer: {type(error).__name__}: {error}"
            raise RegistryUnavailableError(message) from error

    def _add_unknown(self, schema_id: int) -> None:
        if len(self._unknown) >= MAX_UNKNOWN:
            self._unknown.clear()
        now = time.monotonic()
        self._unknown[schema_id] = now + UNKNOWN_SECONDS
        self._unknown_answers.append(now)


def _client(settings: Settings) -> "SchemaRegistryClient":
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415 - part of an extra
        from confluent_kafka.schema_registry.common._httpx_compat import httpx  # noqa: PLC0415 - its choice of library
    except ImportError as error:
        message = f"a schema registry over HTTP needs the extra `registry` of this package ({error.name} is missing)"
        raise RegistryError(message) from error
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


def _avro_schema(registered: RegisteredSchema) -> "Schema":
    from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 - part of an extra

    return Schema(json.dumps(registered.schema), schema_type="AVRO")


def _registered(schema_id: int, answer: "Schema") -> RegisteredSchema:
    """Return the schema of an answer to a request by id. It has no subject, only its record's name."""
    try:
        content = json.loads(answer.schema_str or "")
    # Another type than Avro, such as Protobuf, or JSON that is nested without end: not a schema of an event.
    except (ValueError, RecursionError):
        content = {}
    return RegisteredSchema(schema_id, "", 0, "", content if isinstance(content, dict) else {})
