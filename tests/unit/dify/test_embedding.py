"""Valid vectors, and cached vectors that are only data."""

import asyncio
import math
import os
import pickle
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.embedding.cache import _pickled_floats, decode_vector, encode_vector
from streams.dify.embedding.local import LocalEmbedder, count_tokens_locally
from streams.dify.embedding.port import embed_one, is_vector, normalized
from streams.dify.errors import UnusableVectorError


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=32).filter(lambda numbers: math.hypot(*numbers) > 1e-3))
def test_the_cache_gives_back_what_it_got(numbers: list[float]) -> None:
    length = math.hypot(*numbers)
    vector = [number / length for number in numbers]
    assert decode_vector(encode_vector(vector), len(vector)) == vector


@pytest.mark.requirement("Faults of others", "M8: a cached vector is read without a general unpickler, bounded")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dimensions", [1, 2, 3, 999, 1000, 1001, 1536, 8000, 20_000])
def test_the_cache_reads_what_the_platform_wrote(protocol: int, dimensions: int) -> None:
    """A list of floats in every binary form of pickle, also with several batches and frames."""
    vector = [1.0 / math.sqrt(dimensions)] * dimensions
    assert decode_vector(pickle.dumps(vector, protocol=protocol), dimensions) == vector


@pytest.mark.requirement("Faults of others", "M8: a cached vector is read without a general unpickler, bounded")
@pytest.mark.parametrize(
    "value",
    [
        b"\x80\x05]r\xff\xff\xff\x07.",
        b"\x80\x05Nr\xff\xff\xff\x3f.",
        b"\x80\x04]j\xff\xff\xff\xff.",
        b"\x80\x05\x95" + b"\xff" * 8 + b"].",
        b"\x80\x05]\x8b\xff\xff\xff\x7f.",
        b"\x80\x05](" + b"(" * 40 + b"e.",
        b"\x80\x05]" + b"G" * 200,
        b"\x80\x05" + b"]" * 1_000_000,
    ],
)
def test_a_few_bytes_take_no_memory(value: bytes) -> None:
    """Huge indexes, lengths and depths are no vector, and nothing of their size is allocated."""
    tracemalloc.start()
    try:
        assert decode_vector(value, 2) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=60), st.integers(0, 40), st.lists(st.floats(-1, 1), max_size=4))
def test_a_changed_list_is_what_pickle_reads_or_unknown(change: bytes, at: int, numbers: list[float]) -> None:
    """Whatever is accepted is what Python's own unpickler returns, which also compares the lengths of frames."""
    value = bytearray(pickle.dumps(numbers))
    value[at : at + len(change)] = change
    found = _pickled_floats(bytes(value), 100)
    if found is not None:
        with suppress(pickle.UnpicklingError, EOFError, OverflowError, ValueError):
            assert repr(found) == repr(pickle.loads(bytes(value)))  # noqa: S301 - only known opcodes were accepted


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"junk",
        pickle.dumps(_Attack()),
        pickle.dumps([1.0, _Attack()]),
        pickle.dumps({"a": 1.0}),
        pickle.dumps([0.6, 0.8, 0.0]),
        pickle.dumps([0.6, math.nan]),
        pickle.dumps([6.0, 8.0]),
        pickle.dumps(["0.6", "0.8"]),
        pickle.dumps([0.6, 0.8])[:-3],
    ],
)
def test_a_cached_value_that_is_no_vector_is_unknown(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the pickle names is called."""
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    assert decode_vector(value, 2) is None
    assert called == []


@given(st.binary(max_size=200))
def test_any_bytes_are_a_vector_or_unknown(value: bytes) -> None:
    found = decode_vector(value, 2)
    assert found is None or is_vector(found, 2)


@pytest.mark.parametrize("numbers", [[math.nan, 0.0], [math.inf, 1.0], [1.0], [0.6, 0.8, 0.0], [], [0.0, 0.0]])
def test_numbers_that_are_no_vector(numbers: list[float]) -> None:
    assert isinstance(normalized(numbers, 2), UnusableVectorError)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=32).filter(lambda numbers: math.hypot(*numbers) > 1e-3))
def test_any_other_numbers_become_a_vector_of_length_one(numbers: list[float]) -> None:
    vector = normalized(numbers, len(numbers))
    assert isinstance(vector, list)
    assert is_vector(vector, len(numbers))


async def test_the_local_model_knows_what_belongs_together() -> None:
    embedder = LocalEmbedder()
    texts = ["How much holiday do I get?", "Employees have thirty days of vacation.", "The engine needs new oil."]
    question, fitting, other = [await embed_one(embedder, text, asyncio.to_thread) for text in texts]
    dimensions = (await embedder.space(asyncio.to_thread)).dimensions
    assert all(is_vector(vector, dimensions) for vector in (question, fitting, other))
    assert (
        sum(map(math.prod, zip(question, fitting, strict=True)))
        > 0.2
        > sum(map(math.prod, zip(question, other, strict=True)))
    )
    assert await embedder.embed(texts[:1], asyncio.to_thread) == [question]
    counts = count_tokens_locally(["one", texts[1]])
    assert 0 < counts[0] < counts[1] < 20
