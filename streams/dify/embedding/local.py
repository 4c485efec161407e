"""The local embedding model: WordLlama, whose weights are part of its package, so nothing is downloaded."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from streams.dify.embedding.port import Answer, Compute, Vector, VectorSpace, usable
from streams.dify.errors import EmbeddingError

if TYPE_CHECKING:
    from wordllama import WordLlamaInference

PROVIDER = "local"
MODEL = "wordllama-256"
DIMENSIONS = 256


class LocalEmbedder:
    """The model that embeds where no other is asked for; runs wherever `compute` runs it."""

    provider = PROVIDER
    model = MODEL
    texts_at_once = 1

    async def space(self, compute: Compute) -> VectorSpace:  # noqa: ARG002 - the port's signature
        """Its dimensions are those of its weights."""
        return VectorSpace(PROVIDER, MODEL, DIMENSIONS)

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:
        """A vector of length one for each text, in order, or why it has none."""
        vectors = await compute(embed_locally, list(texts))
        if len(vectors) != len(texts):
            message = f"the embedding model gave {len(vectors)} vectors for {len(texts)} texts"
            return [EmbeddingError(message) for _ in texts]
        return [usable(vector, DIMENSIONS) for vector in vectors]


def embed_locally(texts: list[str]) -> list[Vector]:
    """Runs in a process for CPU-bound work."""
    vectors: list[Vector] = load_local_model().embed(texts, norm=True).tolist()
    return vectors


def count_tokens_locally(texts: list[str]) -> list[int]:
    """Runs in a process for CPU-bound work; padding is not counted."""
    encodings = load_local_model().tokenizer.encode_batch(texts, add_special_tokens=False)
    return [sum(encoding.attention_mask) for encoding in encodings]


@cache
def load_local_model() -> "WordLlamaInference":
    """The model; loaded once a process (0.3 s), or once for all that are forked from one that has it."""
    import wordllama  # noqa: PLC0415 - sets up logging when imported, so only where it is used

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
