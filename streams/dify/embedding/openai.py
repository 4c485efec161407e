"""Embeddings of an HTTP endpoint that speaks OpenAI's protocol: POST <url>/embeddings."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from streams.dify.embedding.local import MODEL, PROVIDER
from streams.dify.embedding.port import Answer, Compute, VectorSpace, usable
from streams.dify.errors import (
    BusyError,
    ContentRefusedError,
    EmbeddingAwayError,
    EmbeddingError,
    RefusedError,
    RefusedTextError,
    UnusableVectorError,
)
from streams.dify.http import retry_after
from streams.settings import Settings, SettingsError

PROBE = "dimensions"
"""The text whose vector tells a model's dimensions."""
BUSY_SECONDS = 10.0
"""Wait after a 429 that does not say how long."""
LONGEST_WAIT = 86400.0
"""Seconds that a Retry-After may ask for at most."""
_ABOUT_CONTENT = {httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY}
_SAID = 300
"""Characters of an answer that an error repeats."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is and how much may be asked of it."""

    url: str
    """Up to and without ``/embeddings``."""
    provider: str
    """As datasets name it in embedding_model_provider."""
    model: str
    api_key: SecretStr | None
    dimensions: int | None
    """None: learned from the first answer."""
    batch: int
    """Texts in one request."""
    concurrency: int
    """Requests under way at once."""
    connect_timeout: float
    """Seconds."""
    request_timeout: float
    """Seconds from the connection's start to the answer's end."""


class OpenAIEmbedder:
    """One model of one endpoint. Its requests share a limit, so it serves one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._dimensions = endpoint.dimensions
        self._free = asyncio.Semaphore(endpoint.concurrency)
        self._tls = httpx.create_ssl_context()
        self.provider = endpoint.provider
        self.model = endpoint.model
        self.texts_at_once = endpoint.batch * endpoint.concurrency

    async def space(self, compute: Compute) -> VectorSpace:  # noqa: ARG002 - the port's signature
        """Where its vectors are. Raises BusyError, RefusedError, EmbeddingError."""
        if self._dimensions is None:
            async with self._client() as client:
                (found,) = await self._ask(client, [PROBE])
            if not isinstance(found, list) or not found:
                message = f"{self._name()} gave no vector that tells its dimensions: {str(found)[:_SAID]}"
                raise EmbeddingError(message)
            self._dimensions = self._dimensions or len(found)
        return VectorSpace(self.provider, self.model, self._dimensions)

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:
        """In batches, several at once; after a failure that is not one text's, no further request is sent."""
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
        """One request, when there is room for it; none where one of the same call has failed by then.

        Where what was asked is refused it is asked in halves, until the text at fault stands alone.
        """
        async with self._free:
            if failures:
                return [failures[0] for _ in texts]
            try:
                found = await self._ask(client, texts)
                return [_vector(one, dimensions) for one in found]
            except ContentRefusedError as error:
                if len(texts) == 1:
                    return [await self._blamed(client, error, failures)]
            except (EmbeddingError, BusyError, RefusedError) as error:
                failures.append(error)
                return [error for _ in texts]
        middle = len(texts) // 2
        halves = (self._batch(client, half, dimensions, failures) for half in (texts[:middle], texts[middle:]))
        return [answer for half in await asyncio.gather(*halves) for answer in half]

    async def _blamed(self, client: httpx.AsyncClient, error: Exception, failures: list[Exception]) -> Exception:
        """The text's own failure where the endpoint takes another text, else the endpoint's."""
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
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=httpx.Timeout(self._endpoint.request_timeout, connect=self._endpoint.connect_timeout, pool=None),
        )

    def _name(self) -> str:
        return f"the embedding model {self.model} at {self._endpoint.url}"

    async def _ask(self, client: httpx.AsyncClient, texts: Sequence[str]) -> list[object]:
        """What came for each text, at the place of its index; None where nothing did."""
        request = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        try:
            async with asyncio.timeout(self._endpoint.request_timeout):
                response = await client.post(f"{self._endpoint.url}/embeddings", json=request)
        except (httpx.HTTPError, TimeoutError) as error:
            message = f"{self._name()} does not answer: {str(error) or type(error).__name__}"
            raise EmbeddingAwayError(message) from error
        if response.status_code != httpx.codes.OK:
            raise _failure(self._name(), response)
        return _by_index(self._name(), response.content, len(texts))


class _Item(BaseModel):
    index: int
    embedding: object


class _Answer(BaseModel):
    data: list[_Item]


def _failure(name: str, response: httpx.Response) -> Exception:
    status = response.status_code
    message = f"{name} answered {status}: {response.text[:_SAID]}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        after = retry_after(response.headers.get("Retry-After"))
        return BusyError(message, BUSY_SECONDS if after is None else min(after, LONGEST_WAIT))
    if status in _ABOUT_CONTENT:
        return ContentRefusedError(message)
    if response.is_client_error and status != httpx.codes.REQUEST_TIMEOUT:
        return RefusedError(message)
    away = response.is_server_error or status == httpx.codes.REQUEST_TIMEOUT
    return EmbeddingAwayError(message) if away else EmbeddingError(message)


def _by_index(name: str, body: bytes, count: int) -> list[object]:
    try:
        data = _Answer.model_validate_json(body).data
    except ValidationError as error:
        message = f"{name} gave no list of embeddings: {body[:_SAID]!r}"
        raise EmbeddingError(message) from error
    found: list[object] = [None] * count
    for item in data:
        if not 0 <= item.index < count or found[item.index] is not None:
            message = f"{name} gave more than one embedding, or one too many, for text {item.index} of {count}"
            raise EmbeddingError(message)
        found[item.index] = item.embedding
    return found


def _vector(found: object, dimensions: int) -> Answer:
    if found is None:
        return UnusableVectorError("the embedding model gave no vector")
    if not isinstance(found, list) or not all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in found
    ):
        return UnusableVectorError("the embedding model gave something that is no list of numbers")
    return usable(found, dimensions)


def build_openai_embedder(settings: Settings) -> OpenAIEmbedder:
    """The endpoint that the settings name. Raises SettingsError."""
    url = settings.embedding_url
    if url is None:
        message = (
            f"STREAMS_EMBEDDING_PROVIDER, STREAMS_EMBEDDING_MODEL: {settings.embedding_model!r} of "
            f"{settings.embedding_provider!r} needs STREAMS_EMBEDDING_URL; else there is {MODEL!r} of {PROVIDER!r}"
        )
        raise SettingsError(message)
    if settings.embedding_provider == PROVIDER:
        message = f"STREAMS_EMBEDDING_PROVIDER: {PROVIDER!r} is the local model; name the one at STREAMS_EMBEDDING_URL"
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
