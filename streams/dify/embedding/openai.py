"""Embeds texts with an HTTP endpoint of OpenAI's protocol: POST <url>/embeddings."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from streams.dify.embedding.batches import Ask, BatchEmbedder
from streams.dify.embedding.local import MODEL, PROVIDER
from streams.dify.embedding.request import MAX_ANSWER_BYTES, failure_of, open_client
from streams.dify.errors import EmbeddingAwayError, EmbeddingError
from streams.dify.http import AnswerError, read_body, tls_context
from streams.observability.logs import get_logger
from streams.settings import Settings, SettingsError

log = get_logger(__name__)
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


class OpenAIService:
    """One model of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        tls_context()  # Certificates that cannot be loaded fail the start, not a request.
        self.name = f"the embedding model {endpoint.model}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Ask]:
        """Open connections for some requests."""
        key = self._endpoint.api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        async with open_client(headers, self._endpoint.connect_timeout, self._endpoint.request_timeout) as client:
            yield partial(self._ask, client)

    async def _ask(self, client: httpx.AsyncClient, texts: Sequence[str]) -> list[object]:
        """Return the answer for each text, by its index; None if there is no answer."""
        request = {"model": self._endpoint.model, "input": list(texts), "encoding_format": "float"}
        try:
            async with (
                asyncio.timeout(self._endpoint.request_timeout),
                client.stream("POST", f"{self._endpoint.url}/embeddings", json=request) as response,
            ):
                body = await read_body(response, MAX_ANSWER_BYTES)
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("the embedding endpoint does not answer", url=self._endpoint.url, error=repr(error))
            message = f"{self.name} does not answer: {type(error).__name__}"
            raise EmbeddingAwayError(message) from error
        except AnswerError as error:
            message = f"{self.name} {error}"
            raise EmbeddingError(message) from error
        if response.status_code != httpx.codes.OK:
            shown = body[:_SHOWN].decode(errors="replace")
            log.warning("the embedding endpoint rejects a request", status=response.status_code, body=shown)
            raise failure_of(self.name, response)
        return _by_index(self.name, body, len(texts))


def openai_embedder(endpoint: Endpoint) -> BatchEmbedder:
    """Return the model of an endpoint."""
    return BatchEmbedder(
        endpoint.provider,
        endpoint.model,
        OpenAIService(endpoint),
        dimensions=endpoint.dimensions,
        batch=endpoint.batch,
        slots=asyncio.Semaphore(endpoint.concurrency),
        concurrency=endpoint.concurrency,
    )


class _Item(BaseModel):
    index: int
    embedding: object


class _Answer(BaseModel):
    data: list[_Item]


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


def build_openai_embedder(settings: Settings) -> BatchEmbedder:
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
    return openai_embedder(
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
