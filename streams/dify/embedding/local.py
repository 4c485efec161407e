"""The local embedding model: WordLlama. Its package contains the weights, so nothing is downloaded."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streams.dify.embedding.port import Answer, Compute, Vector, VectorSpace, normalized
from streams.dify.errors import EmbeddingError

if TYPE_CHECKING:
    from wordllama import WordLlamaInference

PROVIDER = "local"
MODEL = "wordllama-256"
DIMENSIONS = 256


class LocalEmbedder:
    """The default embedding model. `compute` decides where it runs."""

    provider = PROVIDER
    model = MODEL
    batch_size = 1

    async def space(self, compute: Compute) -> VectorSpace:  # noqa: ARG002 - the port's signature
        """Return the vector space. The dimensions are fixed by the weights."""
        return VectorSpace(PROVIDER, MODEL, DIMENSIONS)

    async def embed(self, texts: Sequence[str], compute: Compute) -> list[Answer]:
        """Return a vector of length one for each text, in order, or the reason why it has none."""
        vectors = vectors_in(await compute(embed_locally, list(texts)))
        if len(vectors) != len(texts):
            message = f"the embedding model returned {len(vectors)} vectors for {len(texts)} texts"
            return [EmbeddingError(message) for _ in texts]
        return [normalized(vector, DIMENSIONS) for vector in vectors]


def embed_locally(texts: list[str]) -> bytes:
    """Embed texts. Runs in a process for CPU-bound work. Returns 32-bit floats, text after text."""
    vectors = np.asarray(load_local_model().embed(texts, norm=True), dtype=np.float32)
    return vectors.tobytes()


def vectors_in(value: bytes) -> list[Vector]:
    """Return the vectors that `embed_locally` has written; an incomplete last one is left out."""
    size = DIMENSIONS * np.dtype(np.float32).itemsize
    whole = value[: len(value) // size * size]
    vectors: list[Vector] = np.frombuffer(whole, dtype=np.float32).reshape(-1, DIMENSIONS).tolist()
    return vectors


def count_tokens_locally(texts: list[str]) -> list[int]:
    """Count the tokens of texts, without padding. Runs in a process for CPU-bound work."""
    encodings = load_local_model().tokenizer.encode_batch(texts, add_special_tokens=False)
    return [sum(encoding.attention_mask) for encoding in encodings]


@cache
def load_local_model() -> "WordLlamaInference":
    """Return the model. It is loaded once per process (0.3 s), or once for all processes forked after that."""
    import wordllama  # noqa: PLC0415 - the import configures logging, so it is imported only where it is used

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
