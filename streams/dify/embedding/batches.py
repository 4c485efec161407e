"""Embeds many texts by requests with a few texts each. What a failure means for the other texts is decided here."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from streams.dify.embedding.port import Answer, Compute, VectorSpace, normalized
from streams.dify.errors import (
    BusyError,
    ContentRefusedError,
    EmbeddingError,
    RefusedError,
    RefusedTextError,
    UnusableVectorError,
)

PROBE = "dimensions"
"""The text that is embedded to find out the number of dimensions."""
MAX_DIMENSIONS = 16_000
"""As pgvector and Qdrant can store, with some room."""

Ask = Callable[[Sequence[str]], Awaitable[list[object]]]
"""Sends one request with texts. Returns what the model gave for each text, in their order; None: nothing.

Raises ContentRefusedError for texts that the model does not take, BusyError, RefusedError and EmbeddingError.
"""


class ModelService(Protocol):
    """The service of one model."""

    @property
    def name(self) -> str:
        """The model's name in messages."""

    def connect(self) -> AbstractAsyncContextManager[Ask]:
        """Open connections for some requests."""


class BatchEmbedder:
    """One model behind a service. Its requests share a limit, so it serves one event loop."""

    def __init__(  # noqa: PLR0913 - a model, its service and its limits
        self,
        provider: str,
        model: str,
        service: ModelService,
        *,
        dimensions: int | None,
        batch: int,
        slots: asyncio.Semaphore,
        concurrency: int,
    ) -> None:
        """Keep the model.

        Args:
            provider: As in datasets.embedding_model_provider.
            model: As in datasets.embedding_model.
            service: Where the requests go.
            dimensions: The length of the vectors; None: that of the first answer.
            batch: The number of texts per request.
            slots: The requests that may still be sent at the same time.
            concurrency: The number of slots.
        """
        self.provider = provider
        self.model = model
        self.batch_size = batch * concurrency
        self._service = service
        self._dimensions = dimensions
        self._batch_size = batch
        self._slots = slots

    async def space(self, compute: Compute) -> VectorSpace:  # noqa: ARG002 - the port's signature
        """Return the vector space of the model. Raises BusyError, RefusedError, EmbeddingError."""
        if self._dimensions is None:
            async with self._service.connect() as ask:
                (found,) = await ask([PROBE])
            if not isinstance(found, list) or not 0 < len(found) <= MAX_DIMENSIONS:
                name = self._service.name
                message = f"{name} returned no vector of up to {MAX_DIMENSIONS} numbers to take as an example"
                raise EmbeddingError(message)
            self._dimensions = self._dimensions or len(found)
        return VectorSpace(self.provider, self.model, self._dimensions)

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:
        """Embed texts in batches, several concurrently. After a failure that concerns all texts, no request is sent."""
        try:
            dimensions = (await self.space(compute)).dimensions
        except (EmbeddingError, BusyError, RefusedError) as error:
            return [error for _ in texts]
        size = self._batch_size
        failures: list[Exception] = []
        async with self._service.connect() as ask:
            batches = (texts[start : start + size] for start in range(0, len(texts), size))
            answers = await asyncio.gather(*(self._batch(ask, batch, dimensions, failures) for batch in batches))
        return [answer for batch in answers for answer in batch]

    async def _batch(self, ask: Ask, texts: Sequence[str], dimensions: int, failures: list[Exception]) -> list[Answer]:
        """Send one request when a slot is free; send none if another batch of the call has failed.

        If the content is rejected, the batch is split in halves until the rejected text is alone.
        """
        async with self._slots:
            if failures:
                return [failures[0] for _ in texts]
            try:
                found = await ask(texts)
                return [_vector(one, dimensions) for one in found]
            except ContentRefusedError as error:
                if len(texts) == 1:
                    return [await _rejection_cause(ask, error, failures)]
            except (EmbeddingError, BusyError, RefusedError) as error:
                failures.append(error)
                return [error for _ in texts]
        middle = len(texts) // 2
        halves = (self._batch(ask, half, dimensions, failures) for half in (texts[:middle], texts[middle:]))
        return [answer for half in await asyncio.gather(*halves) for answer in half]


async def _rejection_cause(ask: Ask, error: Exception, failures: list[Exception]) -> Exception:
    """Return the text's error if the service accepts another text, else the service's error."""
    try:
        await ask([PROBE])
    except (EmbeddingError, BusyError, RefusedError) as general:
        failures.append(general)
        return general
    return RefusedTextError(str(error))


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
