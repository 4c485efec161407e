"""The embedding port: each text becomes a vector of length one, or the reason why it has none."""

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
"""What became of one text: its vector, or why there is none."""

_LENGTH_TOLERANCE = 1e-3


class Compute(Protocol):
    """How CPU-bound code is run aside: `work.compute` in a worker, `asyncio.to_thread` in a command."""

    def __call__(self, function: Callable[[A], T], argument: A, /) -> Awaitable[T]:
        """Await the function's result; it and its argument must be picklable."""


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """Vectors of one space can be compared, and only those."""

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
    def texts_at_once(self) -> int:
        """Texts that keep it busy: as many as it takes in one request, times the requests under way at once."""

    async def space(self, compute: Compute) -> VectorSpace:
        """Where its vectors are; a model that does not know its dimensions asks for a vector once.

        Raises what `embed` answers with.
        """

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:
        """For each text, in order: a vector of length one, or why it has none.

        The reasons: UnusableVectorError (of this text alone), EmbeddingError (a repeat may succeed), BusyError (it
        may after some time), RefusedError (no repeat can).
        """


async def embed_one(embedder: Embedder, text: str, compute: Compute) -> Vector:
    """The vector of one text. Raises what `Embedder.embed` gives as the reason."""
    (answer,) = await embedder.embed([text], compute)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def embed_stubbornly(embedder: Embedder, texts: Sequence[str], compute: Compute) -> list[Answer]:
    """As `Embedder.embed`, where a text that got no usable vector among others is tried once more on its own.

    A text that was refused on its own is not.

    Where not one of several got a vector the model is at fault, not a text, and nothing is tried again.
    """
    answers = await embedder.embed(texts, compute)
    failed = [index for index, answer in enumerate(answers) if isinstance(answer, UnusableVectorError)]
    if len(failed) < len(answers):
        failed = [index for index in failed if not isinstance(answers[index], RefusedTextError)]
        alone = await asyncio.gather(*(embedder.embed([texts[index]], compute) for index in failed))
        for index, (answer,) in zip(failed, alone, strict=True):
            answers[index] = answer
    return answers


def usable(numbers: Sequence[float], dimensions: int) -> Answer:
    """The numbers as a vector of length one, or why they are none."""
    if len(numbers) != dimensions:
        return UnusableVectorError(f"the embedding model gave a vector of {len(numbers)} instead of {dimensions}")
    vector = np.asarray(numbers, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length):
        return UnusableVectorError("the embedding model gave a vector with a number that is not finite")
    if length == 0.0:
        return UnusableVectorError("the embedding model gave a vector of length zero")
    scaled: Vector = (vector / length).tolist()
    return scaled


def is_vector(vector: Sequence[float], dimensions: int) -> bool:
    """Whether it is a vector of length one with that many finite numbers."""
    if len(vector) != dimensions:
        return False
    length = float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))
    return bool(np.isfinite(length)) and abs(length - 1.0) <= _LENGTH_TOLERANCE
