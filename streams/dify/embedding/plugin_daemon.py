"""Embeds texts with the platform's plugin daemon and a tenant's own credential, as the platform does.

The request is POST ``plugin/<tenant>/dispatch/text_embedding/invoke``. The answer is a stream of events with one JSON
object each. The first one has the vectors, or the error.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from json import loads

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from streams.dify.credentials.tenant_secrets import TenantSecrets
from streams.dify.embedding.batches import Ask
from streams.dify.embedding.request import BUSY_SECONDS, MAX_ANSWER_BYTES, failure_of, open_client
from streams.dify.errors import (
    BusyError,
    ContentRefusedError,
    EmbeddingAwayError,
    EmbeddingError,
    RefusedError,
)
from streams.dify.http import AnswerError, as_object, read_body
from streams.observability.logs import get_logger

log = get_logger(__name__)
_USER = "unknown"
"""The user that the platform names when it indexes a document."""
_SHOWN = 300
"""The number of characters of an answer in the log."""
_SHORTEST_SECRET = 4
_CREDENTIAL_ERRORS = {"InvokeAuthorizationError", "CredentialsValidateFailedError"}
_MISSING_ERRORS = {"PluginNotFoundError", "PluginUniqueIdentifierError", "PluginDaemonNotFoundError"}


@dataclass(frozen=True, slots=True)
class DaemonAccess:
    """The address of the daemon, and the limits of requests."""

    url: str
    key: SecretStr | None
    connect_timeout: float
    """Seconds."""
    request_timeout: float
    """Seconds from the start of the connection to the end of the response."""
    batch: int
    """The number of texts per request."""
    concurrency: int
    """The number of concurrent requests of all tenants."""


@dataclass(frozen=True, slots=True)
class TenantModel:
    """A model of a tenant in the daemon."""

    tenant_id: str
    plugin_id: str
    """Such as langgenius/openai."""
    provider: str
    """The name in the plugin, such as openai."""
    model: str
    credential: Mapping[str, object] = field(repr=False)
    """Its secrets are encrypted."""


class PluginModelService:
    """One model of a tenant. Its credential is decrypted before the first request."""

    def __init__(self, access: DaemonAccess, model: TenantModel, secrets: TenantSecrets) -> None:
        self._access = access
        self._model = model
        self._secrets = secrets
        self._decrypted: Mapping[str, object] | None = None
        self.name = f"the embedding model {model.model}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Ask]:
        """Open connections for some requests. Raises RefusedError for a credential that cannot be decrypted."""
        if self._decrypted is None:
            self._decrypted = {
                name: await self._secrets.decrypt(value) if isinstance(value, str) else value
                for name, value in self._model.credential.items()
            }
        key = self._access.key
        headers = {"X-Api-Key": key.get_secret_value()} if key else {}
        headers["X-Plugin-ID"] = self._model.plugin_id
        async with open_client(headers, self._access.connect_timeout, self._access.request_timeout) as client:
            yield partial(self._ask, client, self._decrypted)

    async def _ask(
        self, client: httpx.AsyncClient, credential: Mapping[str, object], texts: Sequence[str]
    ) -> list[object]:
        request = {
            "user_id": _USER,
            "data": {
                "provider": self._model.provider,
                "model_type": "text-embedding",
                "model": self._model.model,
                "credentials": credential,
                "texts": list(texts),
                "input_type": "document",
            },
        }
        path = f"plugin/{self._model.tenant_id}/dispatch/text_embedding/invoke"
        try:
            async with (
                asyncio.timeout(self._access.request_timeout),
                client.stream("POST", f"{self._access.url.rstrip('/')}/{path}", json=request) as response,
            ):
                body = await read_body(response, MAX_ANSWER_BYTES)
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("the plugin daemon does not answer", error=repr(error))
            message = f"the plugin daemon does not answer for {self.name}: {type(error).__name__}"
            raise EmbeddingAwayError(message) from error
        except AnswerError as error:
            message = f"the plugin daemon {error}"
            raise EmbeddingError(message) from error
        if response.status_code != httpx.codes.OK:
            log.warning("the plugin daemon rejects a request", status=response.status_code)
            raise failure_of("the plugin daemon", response)
        return self._vectors(body, credential, len(texts))

    def _vectors(self, body: bytes, credential: Mapping[str, object], count: int) -> list[object]:
        answer = _first_event(body)
        if answer is None:
            log.warning("the plugin daemon returns no event", body=_shown(body.decode(errors="replace"), credential))
            message = f"the plugin daemon returned no vectors of {self.name}"
            raise EmbeddingError(message)
        if answer.code != 0:
            kind, reason = _error_of(answer.message)
            log.warning("the plugin daemon rejects texts", kind=kind, reason=_shown(reason, credential))
            raise self._failure(kind, answer.code)
        found = as_object(answer.data).get("embeddings")
        if not isinstance(found, list) or len(found) != count:
            message = (
                f"{self.name} returned {len(found) if isinstance(found, list) else 'no'} vectors for {count} texts"
            )
            raise EmbeddingError(message)
        return found

    def _failure(self, kind: str, code: int) -> Exception:
        """Return what an error of the daemon or of the plugin means.

        A provider that is down concerns its tenants alone: the daemon itself is not unavailable.
        """
        if kind == "InvokeRateLimitError":
            return BusyError(f"{self.name} asks for a pause", BUSY_SECONDS)
        if kind == "InvokeBadRequestError":
            return ContentRefusedError(f"{self.name} rejects the request")
        if kind in _CREDENTIAL_ERRORS:
            return RefusedError(f"{self.name} rejects the tenant's credential for {self._model.plugin_id}")
        if kind in _MISSING_ERRORS:
            return RefusedError(f"the plugin {self._model.plugin_id} is not installed for the tenant")
        return EmbeddingError(f"{self.name} failed: {kind[:100] or f'code {code}'}")


class _Event(BaseModel):
    code: int
    message: str = ""
    data: object = None


def _first_event(body: bytes) -> _Event | None:
    for line in body.decode(errors="replace").splitlines():
        text = line.strip().removeprefix("data:").strip()
        if text:
            try:
                return _Event.model_validate_json(text)
            except ValidationError:
                return None
    return None


def _error_of(message: str) -> tuple[str, str]:
    """Return the kind of an error and its text. An error of a plugin is inside of one of the daemon."""
    found = _as_error(message)
    inner = _as_error(found[1]) if found[0] == "PluginInvokeError" else ("", "")
    return inner if inner[0] else found


def _as_error(text: str) -> tuple[str, str]:
    try:
        found = as_object(loads(text))
    except (ValueError, RecursionError):
        return "", text
    return str(found.get("error_type") or ""), str(found.get("message") or "")


def _shown(text: str, credential: Mapping[str, object]) -> str:
    """Return the beginning of a text for the log, without the values of the credential."""
    for value in credential.values():
        if isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return " ".join(text[:_SHOWN].split())
