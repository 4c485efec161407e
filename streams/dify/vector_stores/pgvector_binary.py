"""Sends vectors to PostgreSQL in pgvector's binary form. The text form would cost more than the rest of an insert."""

import struct
from collections.abc import Callable, Sequence

import numpy as np
import psycopg
from pgvector.sqlalchemy import VECTOR
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Dialect


class Packed(bytes):
    """A packed vector, in network byte order.

    It contains the length and a reserved field of 16 bits each, then the numbers of 32 bits each.
    """

    __slots__ = ()


class _Dumper(Dumper):
    """Dumps a packed vector. The server takes the type from the column."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> bytes:
        return obj


class PackedVector(VECTOR):
    """A vector column that sends its parameters in packed form."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Sequence[float] | None], Packed | None]:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the function that packs a list of numbers."""
        return pack


def pack(vector: Sequence[float] | None) -> Packed | None:
    """Return the packed form of a vector; None stays None."""
    if vector is None:
        return None
    return Packed(struct.pack(">HH", len(vector), 0) + np.asarray(vector, dtype=">f4").tobytes())


psycopg.adapters.register_dumper(Packed, _Dumper)
