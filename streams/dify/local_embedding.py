"""The local embedding model: WordLlama, whose weights are part of its package, so nothing is downloaded."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from streams.dify.embedding import Compute, Vector, check_vectors

if TYPE_CHECKING:
    from wordllama import WordLlamaInference

PROVIDER = "local"
MODEL = "wordllama-256"


class LocalEmbedder:
    """The model that embeds where no other is asked for; runs wherever `compute` runs it."""

    provider = PROVIDER
    model = MODEL
    dimensions = 256

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Vector]:
        """A vector of length one for each text, in order."""
        vectors = await compute(embed_locally, list(texts))
        check_vectors(vectors, len(texts), self.dimensions)
        return vectors

    async def count_tokens(self, texts: Sequence[str], compute: Compute) -> list[int]:
        """Tokens of each text, in order."""
        return await compute(count_tokens_locally, list(texts))


def embed_locally(texts: list[str]) -> list[Vector]:
    """Runs in a process for CPU-bound work; the model is loaded once a process (0.3 s)."""
    vectors: list[Vector] = _local_model().embed(texts, norm=True).tolist()
    return vectors


def count_tokens_locally(texts: list[str]) -> list[int]:
    """Runs in a process for CPU-bound work; padding is not counted."""
    encodings = _local_model().tokenizer.encode_batch(texts, add_special_tokens=False)
    return [sum(encoding.attention_mask) for encoding in encodings]


@cache
def _local_model() -> "WordLlamaInference":
    import wordllama  # noqa: PLC0415 - sets up logging when imported, so only where it is used

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
