"""Vectors on their way to PostgreSQL in pgvector's binary form: as text, each number would cost more than the rest."""

import struct
from collections.abc import Callable, Sequence

import numpy as np
import psycopg
from pgvector.sqlalchemy import VECTOR
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Dialect


class Packed(bytes):
    """Two lengths of 16 bits (the second is reserved), then the numbers as 32 bits each; the network's byte order."""

    __slots__ = ()


class _Dumper(Dumper):
    """The type is left to the server: the column says what it is."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> bytes:
        return obj


class PackedVector(VECTOR):
    """A vector column whose parameters go out packed."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Sequence[float] | None], Packed | None]:  # noqa: ARG002 - SQLAlchemy's signature
        """Turns a list of numbers into its packed form."""
        return pack


def pack(vector: Sequence[float] | None) -> Packed | None:
    """The packed form of a vector; None stays None."""
    if vector is None:
        return None
    return Packed(struct.pack(">HH", len(vector), 0) + np.asarray(vector, dtype=">f4").tobytes())


psycopg.adapters.register_dumper(Packed, _Dumper)
