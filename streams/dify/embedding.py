"""The embedding port: texts become vectors of length one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")
A = TypeVar("A")
Vector = list[float]

_LENGTH_TOLERANCE = 1e-3


class EmbeddingError(Exception):
    """The model gave something that is not a vector for each text."""


class Compute(Protocol):
    """How CPU-bound code is run aside: `work.compute` in a worker, `asyncio.to_thread` in a command."""

    def __call__(self, function: Callable[[A], T], argument: A, /) -> Awaitable[T]:
        """Await the function's result; it and its argument must be picklable."""


class Embedder(Protocol):
    """One embedding model of one provider."""

    @property
    def provider(self) -> str:
        """As in datasets.embedding_model_provider."""

    @property
    def model(self) -> str:
        """As in datasets.embedding_model."""

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Vector]:
        """A vector of length one for each text, in order. Raises EmbeddingError rather than leaving one out."""

    async def count_tokens(self, texts: Sequence[str], compute: Compute) -> list[int]:
        """Tokens of each text, in order."""


def check_vectors(vectors: Sequence[Vector], count: int, dimensions: int) -> None:
    """Raise EmbeddingError unless there are `count` vectors of that many finite numbers and of length one.

    A vector left out would shift the following ones to the wrong texts, and the cache would keep them so.
    """
    if len(vectors) != count:
        message = f"the embedding model gave {len(vectors)} vectors for {count} texts"
        raise EmbeddingError(message)
    for index, vector in enumerate(vectors):
        if not is_vector(vector, dimensions):
            message = f"the embedding model gave no usable vector for text {index + 1} of {count}"
            raise EmbeddingError(message)


def is_vector(vector: Sequence[float], dimensions: int) -> bool:
    """Whether it is a vector of length one with that many finite numbers."""
    if len(vector) != dimensions:
        return False
    length = float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))
    return bool(np.isfinite(length)) and abs(length - 1.0) <= _LENGTH_TOLERANCE
