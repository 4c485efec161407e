"""Embeds texts with an HTTP endpoint of OpenAI's protocol: POST <url>/embeddings."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from streams.dify.embedding.local import MODEL, PROVIDER
from streams.dify.embedding.port import Answer, Compute, VectorSpace, normalized
from streams.dify.errors import (
    BusyError,
    ContentRefusedError,
    EmbeddingAwayError,
    EmbeddingError,
    RefusedError,
    RefusedTextError,
    UnusableVectorError,
)
from streams.dify.http import ACCEPTED, AnswerError, read_body, retry_after
from streams.observability.logs import get_logger
from streams.settings import Settings, SettingsError

log = get_logger(__name__)
PROBE = "dimensions"
"""The text that is embedded to find out the number of dimensions."""
BUSY_SECONDS = 10.0
"""Seconds to wait after a 429 without Retry-After."""
MAX_WAIT = 86400.0
"""The longest wait in seconds that a Retry-After may request."""
_CONTENT_STATUSES = {httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY}
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_DIMENSIONS = 16_000
"""As pgvector and Qdrant can store, with some room."""
_SHOWN = 300
"""The number of bytes of a response in the log."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a model, and the limits of requests."""

    url: str
    """Without ``/embeddings``."""
    provider: str
    """The name in datasets.embedding_model_provider."""
    model: str
    api_key: SecretStr | None
    dimensions: int | None
    """None: taken from the first answer."""
    batch: int
    """The number of texts per request."""
    concurrency: int
    """The number of concurrent requests."""
    connect_timeout: float
    """Seconds."""
    request_timeout: float
    """Seconds from the start of the connection to the end of the response."""


class OpenAIEmbedder:
    """One model of one endpoint. Its requests share a limit, so it serves one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._dimensions = endpoint.dimensions
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._tls = httpx.create_ssl_context()
        self.provider = endpoint.provider
        self.model = endpoint.model
        self.batch_size = endpoint.batch * endpoint.concurrency

    async def space(self, compute: Compute) -> VectorSpace:  # noqa: ARG002 - the port's signature
        """Return the vector space of the model. Raises BusyError, RefusedError, EmbeddingError."""
        if self._dimensions is None:
            async with self._client() as client:
                (found,) = await self._ask(client, [PROBE])
            if not isinstance(found, list) or not 0 < len(found) <= MAX_DIMENSIONS:
                message = f"{self._name()} returned no vector of up to {MAX_DIMENSIONS} numbers to take as an example"
                raise EmbeddingError(message)
            self._dimensions = self._dimensions or len(found)
        return VectorSpace(self.provider, self.model, self._dimensions)

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:
        """Embed texts in batches, several concurrently. After a failure that concerns all texts, no request is sent."""
        try:
            dimensions = (await self.space(compute)).dimensions
        except (EmbeddingError, BusyError, RefusedError) as error:
            return [error for _ in texts]
        size = self._endpoint.batch
        failures: list[Exception] = []
        async with self._client() as client:
            batches = (texts[start : start + size] for start in range(0, len(texts), size))
            answers = await asyncio.gather(*(self._batch(client, batch, dimensions, failures) for batch in batches))
        return [answer for batch in answers for answer in batch]

    async def _batch(
        self, client: httpx.AsyncClient, texts: Sequence[str], dimensions: int, failures: list[Exception]
    ) -> list[Answer]:
        """Send one request when a slot is free; send none if another batch of the call has failed.

        If the content is rejected, the batch is split in halves until the rejected text is alone.
        """
        async with self._slots:
            if failures:
                return [failures[0] for _ in texts]
            try:
                found = await self._ask(client, texts)
                return [_vector(one, dimensions) for one in found]
            except ContentRefusedError as error:
                if len(texts) == 1:
                    return [await self._rejection_cause(client, error, failures)]
            except (EmbeddingError, BusyError, RefusedError) as error:
                failures.append(error)
                return [error for _ in texts]
        middle = len(texts) // 2
        halves = (self._batch(client, half, dimensions, failures) for half in (texts[:middle], texts[middle:]))
        return [answer for half in await asyncio.gather(*halves) for answer in half]

    async def _rejection_cause(
        self, client: httpx.AsyncClient, error: Exception, failures: list[Exception]
    ) -> Exception:
        """Return the text's error if the endpoint accepts another text, else the endpoint's error."""
        try:
            await self._ask(client, [PROBE])
        except (EmbeddingError, BusyError, RefusedError) as general:
            failures.append(general)
            return general
        return RefusedTextError(str(error))

    def _client(self) -> httpx.AsyncClient:
        key = self._endpoint.api_key
        return httpx.AsyncClient(
            verify=self._tls,
            headers={**ACCEPTED, **({"Authorization": f"Bearer {key.get_secret_value()}"} if key else {})},
            timeout=httpx.Timeout(self._endpoint.request_timeout, connect=self._endpoint.connect_timeout, pool=None),
        )

    def _name(self) -> str:
        return f"the embedding model {self.model}"

    async def _ask(self, client: httpx.AsyncClient, texts: Sequence[str]) -> list[object]:
        """Return the answer for each text, by its index; None if there is no answer."""
        request = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        try:
            async with (
                asyncio.timeout(self._endpoint.request_timeout),
                client.stream("POST", f"{self._endpoint.url}/embeddings", json=request) as response,
            ):
                body = await read_body(response, MAX_ANSWER_BYTES)
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("the embedding endpoint does not answer", url=self._endpoint.url, error=repr(error))
            message = f"{self._name()} does not answer: {type(error).__name__}"
            raise EmbeddingAwayError(message) from error
        except AnswerError as error:
            message = f"{self._name()} {error}"
            raise EmbeddingError(message) from error
        if response.status_code != httpx.codes.OK:
            shown = body[:_SHOWN].decode(errors="replace")
            log.warning("the embedding endpoint rejects a request", status=response.status_code, body=shown)
            raise _failure(self._name(), response)
        return _by_index(self._name(), body, len(texts))


class _Item(BaseModel):
    index: int
    embedding: object


class _Answer(BaseModel):
    data: list[_Item]


def _failure(name: str, response: httpx.Response) -> Exception:
    status = response.status_code
    message = f"{name} answered {status}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        after = retry_after(response.headers.get("Retry-After"))
        return BusyError(message, BUSY_SECONDS if after is None else min(after, MAX_WAIT))
    if status in _CONTENT_STATUSES:
        return ContentRefusedError(message)
    if response.is_client_error and status != httpx.codes.REQUEST_TIMEOUT:
        return RefusedError(message)
    away = response.is_server_error or status == httpx.codes.REQUEST_TIMEOUT
    return EmbeddingAwayError(message) if away else EmbeddingError(message)


def _by_index(name: str, body: bytes, count: int) -> list[object]:
    try:
        data = _Answer.model_validate_json(body).data
    except ValidationError as error:
        log.warning("the embedding endpoint returns no list of embeddings", body=body[:_SHOWN].decode(errors="replace"))
        message = f"{name} returned no list of embeddings"
        raise EmbeddingError(message) from error
    found: list[object] = [None] * count
    for item in data:
        if not 0 <= item.index < count or found[item.index] is not None:
            message = (
                f"{name} returned two embeddings for text {item.index}, or one for a text beyond the {count} texts"
            )
            raise EmbeddingError(message)
        found[item.index] = item.embedding
    return found


def _vector(found: object, dimensions: int) -> Answer:
    if found is None:
        return UnusableVectorError("the embedding model returned no vector")
    if not isinstance(found, list) or not all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in found
    ):
        return UnusableVectorError("the embedding model returned something that is not a list of numbers")
    try:
        return normalized(found, dimensions)
    except OverflowError:  # an integer that no float can hold
        return UnusableVectorError("the embedding model returned a vector with a number that is too large")


def build_openai_embedder(settings: Settings) -> OpenAIEmbedder:
    """Create the embedder of the settings. Raises SettingsError."""
    url = settings.embedding_url
    if url is None:
        message = (
            f"STREAMS_EMBEDDING_PROVIDER, STREAMS_EMBEDDING_MODEL: {settings.embedding_model!r} of "
            f"{settings.embedding_provider!r} needs STREAMS_EMBEDDING_URL; without it use {MODEL!r} of {PROVIDER!r}"
        )
        raise SettingsError(message)
    if settings.embedding_provider == PROVIDER:
        message = f"STREAMS_EMBEDDING_PROVIDER: {PROVIDER!r} is the local model; name the one of STREAMS_EMBEDDING_URL"
        raise SettingsError(message)
    return OpenAIEmbedder(
        Endpoint(
            url=url.rstrip("/"),
            provider=settings.embedding_provider,
            model=settings.embedding_model,
            api_key=settings.embedding_api_key,
            dimensions=settings.embedding_dimensions,
            batch=settings.embedding_batch,
            concurrency=settings.embedding_concurrency,
            connect_timeout=settings.embedding_connect_timeout,
            request_timeout=settings.embedding_request_timeout,
        )
    )
