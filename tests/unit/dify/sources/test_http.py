"""Answers of services: bounded, also after they are unpacked."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from streams.dify.http import AnswerError, is_path_name, read_body

FAULT = "Faults of others"
LIMIT = 1 << 20


class Sent(httpx.AsyncByteStream):
    """The bytes of an answer as they come from the network."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 1000):
            yield self._content[start : start + 1000]


def _answer(content: bytes, encoding: str | None = None) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Encoding": encoding} if encoding else {}, stream=Sent(content))


@pytest.mark.requirement(FAULT, "M12: answers are bounded, also after they are unpacked")
async def test_an_answer_is_read_as_it_is_or_unpacked_once() -> None:
    """No encoding, identity and gzip are read. The limit counts for what comes out."""
    text = json.dumps({"a": "x" * 5000}).encode()
    assert await read_body(_answer(text), LIMIT) == text
    assert await read_body(_answer(text, "identity"), LIMIT) == text
    assert await read_body(_answer(gzip.compress(text), "gzip"), LIMIT) == text
    assert await read_body(_answer(bytes(LIMIT)), LIMIT) == bytes(LIMIT)


@pytest.mark.requirement(FAULT, "M12: answers are bounded, also after they are unpacked")
@pytest.mark.parametrize(
    ("content", "encoding", "reason"),
    [
        (bytes(LIMIT + 1), None, "more than 1 MiB"),
        (gzip.compress(bytes(64 * LIMIT)), "gzip", "more than 1 MiB"),
        (gzip.compress(gzip.compress(bytes(64 * LIMIT))), "gzip, gzip", "not asked for"),
        (zlib.compress(b"x"), "deflate", "not asked for"),
        (b"x", "br", "not asked for"),
        (b"no gzip", "gzip", "damaged"),
    ],
)
async def test_other_answers_are_refused(content: bytes, encoding: str | None, reason: str) -> None:
    """Some kB that unpack to 64 MiB take no more memory than the limit."""
    with pytest.raises(AnswerError, match=reason):
        await read_body(_answer(content, encoding), LIMIT)


@pytest.mark.requirement(FAULT, "M12: ids are one name of a path")
def test_an_id_is_one_name_of_a_path() -> None:
    """Dots, slashes and signs of encoding would lead to other pages of the service."""
    assert all(map(is_path_name, ("job-1", "0189b3f2-3d5a-7b8e-9a44-6f0b8c2d1e37", "a_B9")))
    assert not any(map(is_path_name, ("", ".", "..", "a/b", "a%2Fb", "a?b", "a#b", "a b", "ä", "x\n", "x" * 129)))
