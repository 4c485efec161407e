"""The platform's table `embeddings` as a cache of a model: the same text is embedded once."""

import io
import pickle
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import Vector, VectorSpace, is_vector
from streams.dify.models import Embedding, utc_now


async def cached_vectors(session: AsyncSession, space: VectorSpace, hashes: Sequence[str]) -> dict[str, Vector]:
    """Return the cached vectors by text hash, in one query. An entry without a usable vector counts as missing."""
    rows = await session.execute(
        select(Embedding.hash, Embedding.embedding).where(
            Embedding.provider_name == space.provider,
            Embedding.model_name == space.model,
            Embedding.hash.in_(set(hashes)),
        )
    )
    decoded = ((text_hash, decode_vector(value, space.dimensions)) for text_hash, value in rows)
    return {text_hash: vector for text_hash, vector in decoded if vector is not None}


async def cache_vectors(session: AsyncSession, space: VectorSpace, vectors: Mapping[str, Vector]) -> None:
    """Write vectors by text hash. An unusable entry is replaced.

    Rows are sorted by hash. So two workers with the same texts wait for each other and never deadlock.
    """
    if not vectors:
        return
    now = utc_now()
    rows = [
        {
            "provider_name": space.provider,
            "model_name": space.model,
            "hash": text_hash,
            "embedding": encode_vector(vectors[text_hash]),
            "created_at": now,
        }
        for text_hash in sorted(vectors)
    ]
    statement = insert(Embedding)
    await session.execute(
        statement.on_conflict_do_update(
            constraint="embedding_hash_idx",
            set_={"embedding": statement.excluded.embedding},
            where=Embedding.embedding != statement.excluded.embedding,
        ),
        rows,
    )


def encode_vector(vector: Vector) -> bytes:
    """Encode a vector as the platform does: a pickled list of floats."""
    return pickle.dumps([float(number) for number in vector], protocol=pickle.HIGHEST_PROTOCOL)


def decode_vector(value: bytes, dimensions: int) -> Vector | None:
    """Return the list of floats, or None for any other bytes. The bytes are data and are never executed as code."""
    try:
        vector = _PlainUnpickler(io.BytesIO(value)).load()
    except Exception:  # noqa: BLE001 - invalid pickles may raise any error, and all of them mean a missing entry
        return None
    if not isinstance(vector, list) or not all(isinstance(number, float) for number in vector):
        return None
    return vector if is_vector(vector, dimensions) else None


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists and numbers only. A pickle that names a class or function is rejected."""

    def find_class(self, module_name: str, global_name: str, /) -> object:
        message = f"a cached vector names {module_name}.{global_name}"
        raise pickle.UnpicklingError(message)
