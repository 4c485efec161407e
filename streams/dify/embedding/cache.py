"""The platform's table `embeddings` as a cache of a model: the same text is embedded once."""

import pickle
from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import Vector, VectorSpace, is_vector
from streams.dify.models import Embedding, utc_now

_FLOAT = np.dtype([("opcode", "S1"), ("number", ">f8")])
"""A float as pickle writes it: one byte, then the number in network byte order."""
_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_MEMO = {pickle.MEMOIZE: 1, pickle.BINPUT: 2, pickle.LONG_BINPUT: 5}
"""The opcodes that remember a new list, and their lengths. Their index is not used."""
_OVERHEAD = 64
"""The bytes of a pickled list besides its floats, at most; every 1000 floats add two, every 64 KiB nine."""


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
    if len(value) > _FLOAT.itemsize * dimensions + dimensions // 100 + _OVERHEAD:
        return None
    vector = _pickled_floats(value, dimensions)
    return vector if vector is not None and is_vector(vector, dimensions) else None


def _pickled_floats(value: bytes, most: int) -> Vector | None:  # noqa: C901 - one branch per opcode
    """Return the numbers of a pickled list of at most `most` floats; None for anything else.

    It knows only the opcodes that such a list has. A general unpickler would also allocate what a few bytes announce,
    such as a memo of gigabytes.
    """
    found: Vector = []
    at, started, grouped, alone = 2, False, False, 0
    if value[:1] != pickle.PROTO or value[1:2] not in _PROTOCOLS:
        return None
    while at < len(value):
        opcode = value[at : at + 1]
        if opcode == pickle.FRAME:
            at += 9
        elif opcode == pickle.EMPTY_LIST and not started:
            started = True
            at += 1 + _MEMO.get(value[at + 1 : at + 2], 0)
        elif opcode == pickle.MARK and started and not grouped and not alone:
            grouped, at = True, at + 1
        elif opcode == pickle.BINFLOAT and started and (grouped or not alone):
            numbers = _run_of_floats(value, at, most - len(found) if grouped else 1)
            if not numbers:
                return None
            found += numbers
            at, alone = at + _FLOAT.itemsize * len(numbers), int(not grouped)
        elif opcode == pickle.APPENDS and grouped:
            grouped, at = False, at + 1
        elif opcode == pickle.APPEND and alone:
            alone, at = 0, at + 1
        elif opcode == pickle.STOP and started and not grouped and not alone:
            return found if at + 1 == len(value) else None
        else:
            return None
    return None


def _run_of_floats(value: bytes, start: int, most: int) -> Vector:
    """Return the numbers of the BINFLOAT opcodes that follow each other from `start` on, at most `most`."""
    whole = min((len(value) - start) // _FLOAT.itemsize, most)
    if whole <= 0:
        return []
    read = np.frombuffer(value, dtype=_FLOAT, count=whole, offset=start)
    fits = read["opcode"] == pickle.BINFLOAT
    numbers: Vector = read["number"][: whole if fits.all() else int(fits.argmin())].tolist()
    return numbers
