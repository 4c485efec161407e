"""The embedding port: each text gets a vector of length one, or the reason why it has none."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from streams.dify.errors import RefusedTextError, UnusableVectorError

T = TypeVar("T")
A = TypeVar("A")
Vector = list[float]
Answer = Vector | Exception
"""The result for one text: its vector, or the reason why it has none."""

_LENGTH_TOLERANCE = 1e-3


class Compute(Protocol):
    """Runs CPU-bound code elsewhere: `work.compute` in a worker, `asyncio.to_thread` in a command."""

    def __call__(self, function: Callable[[A], T], argument: A, /) -> Awaitable[T]:
        """Return the result of the function. The function, its argument and its result must be picklable."""


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """Identifies a vector space. Only vectors of the same space can be compared."""

    provider: str
    """As in datasets.embedding_model_provider."""
    model: str
    """As in datasets.embedding_model."""
    dimensions: int


class Embedder(Protocol):
    """One embedding model of one provider."""

    @property
    def provider(self) -> str:
        """As in datasets.embedding_model_provider."""

    @property
    def model(self) -> str:
        """As in datasets.embedding_model."""

    @property
    def batch_size(self) -> int:
        """The number of texts that use the model fully: texts per request times concurrent requests."""

    async def space(self, compute: Compute) -> VectorSpace:
        """Return the vector space of the model. A model with unknown dimensions is asked for one vector, once.

        Raises the errors that `embed` returns.
        """

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:
        """Return for each text, in order, a vector of length one or the reason why it has none.

        The reasons: UnusableVectorError (this text only), EmbeddingError (a retry may succeed), BusyError (a retry may
        succeed after some time), RefusedError (no retry can succeed).
        """


async def embed_one(embedder: Embedder, text: str, compute: Compute) -> Vector:
    """Return the vector of one text. Raises the error that `Embedder.embed` returns as the reason."""
    (answer,) = await embedder.embed([text], compute)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def embed_with_retries(embedder: Embedder, texts: Sequence[str], compute: Compute) -> list[Answer]:
    """Embed texts as `Embedder.embed` does, and retry the texts without a usable vector one by one.

    A text that was rejected alone is not retried. If no text of several got a vector, the model is at fault, and
    nothing is retried.
    """
    answers = await embedder.embed(texts, compute)
    failed = [index for index, answer in enumerate(answers) if isinstance(answer, UnusableVectorError)]
    if len(failed) < len(answers):
        failed = [index for index in failed if not isinstance(answers[index], RefusedTextError)]
        alone = await asyncio.gather(*(embedder.embed([texts[index]], compute) for index in failed))
        for index, (answer,) in zip(failed, alone, strict=True):
            answers[index] = answer
    return answers


def normalized(numbers: Sequence[float], dimensions: int) -> Answer:
    """Return the numbers as a vector of length one, or the reason why they are not a vector."""
    if len(numbers) != dimensions:
        return UnusableVectorError(f"the embedding model returned a vector of {len(numbers)} instead of {dimensions}")
    vector = np.asarray(numbers, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length):
        return UnusableVectorError("the embedding model returned a vector with a number that is not finite")
    if length == 0.0:
        return UnusableVectorError("the embedding model returned a vector of length zero")
    scaled: Vector = (vector / length).tolist()
    return scaled


def is_vector(vector: Sequence[float], dimensions: int) -> bool:
    """Return whether the numbers are a finite vector of length one with these dimensions."""
    if len(vector) != dimensions:
        return False
    length = float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))
    return bool(np.isfinite(length)) and abs(length - 1.0) <= _LENGTH_TOLERANCE
