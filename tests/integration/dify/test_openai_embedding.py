"""The OpenAI-compatible provider, with a server that implements its protocol over HTTP."""

import asyncio
import math
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from streams.dify.embedding.batches import PROBE
from streams.dify.embedding.openai import build_openai_embedder
from streams.dify.embedding.port import Embedder, embed_with_retries
from streams.dify.errors import (
    BusyError,
    EmbeddingAwayError,
    EmbeddingError,
    RefusedError,
    RefusedTextError,
    UnusableVectorError,
)
from streams.settings import Settings
from tests.support.fakes.embedding_server import DIMENSIONS, EmbeddingServer, embedding_server, numbers_of, unit

TEXTS = [f"text {number}" for number in range(7)]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running


def embedder(url: str, **values: object) -> Embedder:
    known = {"embedding_url": url, "embedding_provider": "openai", "embedding_model": "test-model"}
    return build_openai_embedder(Settings.model_validate({**known, **values}))


@pytest.mark.requirement(
    "Embedding and loading",
    "embedding batches at the provider's size, several under way at once",
)
async def test_vectors_of_length_one_in_batches(server: EmbeddingServer) -> None:
    """No request has more texts than the setting. The key is sent. The dimensions are requested once."""
    model = embedder(server.url, embedding_batch=3, embedding_api_key="sk-secret")

    answers = await model.embed(TEXTS, asyncio.to_thread)
    again = await model.embed(TEXTS[:1], asyncio.to_thread)

    for text, answer in zip(TEXTS, answers, strict=True):
        assert isinstance(answer, list)
        assert answer == pytest.approx(unit(numbers_of(text)))
        assert math.hypot(*answer) == pytest.approx(1.0)
    assert again == answers[:1]
    assert (await model.space(asyncio.to_thread)).dimensions == DIMENSIONS
    assert sorted(map(len, server.requests)) == [1, 1, 1, 3, 3]
    assert set(server.keys) == {"Bearer sk-secret"}


@pytest.mark.requirement(
    "Embedding and loading",
    "embedding batches at the provider's size, several under way at once",
)
async def test_several_requests_are_under_way_at_once(server: EmbeddingServer) -> None:
    """The server answers only when three requests are waiting. Sequential requests would never end."""
    server.together = threading.Barrier(3)
    model = embedder(server.url, embedding_batch=1, embedding_concurrency=3, embedding_dimensions=DIMENSIONS)
    answers = await asyncio.wait_for(model.embed(TEXTS[:6], asyncio.to_thread), 10)
    assert all(isinstance(answer, list) for answer in answers)


@pytest.mark.requirement(
    "Embedding and loading",
    "embedding batches at the provider's size, several under way at once",
)
async def test_no_more_requests_at_once_than_the_setting_says(server: EmbeddingServer) -> None:
    """Two calls of one worker share the limit. A server that waits for three requests never gets them."""
    server.together = threading.Barrier(3)
    model = embedder(server.url, embedding_concurrency=2, embedding_dimensions=8, embedding_request_timeout="1s")
    calls = [model.embed([text], asyncio.to_thread) for text in TEXTS[:2]]
    (first,), (second,) = await asyncio.gather(*calls)
    server.together.abort()
    assert isinstance(first, EmbeddingError)
    assert isinstance(second, EmbeddingError)
    assert len(server.requests) == 2


@pytest.mark.requirement(
    "Embedding and loading",
    "a vector with NaN or a wrong length fails that text alone, never shifts or poisons others",
)
async def test_answers_in_another_order_stay_with_their_texts(server: EmbeddingServer) -> None:
    """The index decides, not the position."""
    server.change = lambda items: items[::-1]
    answers = await embedder(server.url).embed(TEXTS, asyncio.to_thread)
    assert answers == [pytest.approx(unit(numbers_of(text))) for text in TEXTS]


@pytest.mark.parametrize(
    ("special", "reason"),
    [
        ([math.nan] * DIMENSIONS, "not finite"),
        ([1.0] * (DIMENSIONS - 1) + [math.inf], "not finite"),
        ([1.0] * (DIMENSIONS + 1), "of 9 instead of 8"),
        ([0.0] * DIMENSIONS, "length zero"),
        ([], "of 0 instead of 8"),
        (None, "no vector"),
        ([None] * DIMENSIONS, "not a list of numbers"),
        ("AACAPw==", "not a list of numbers"),
    ],
)
async def test_a_bad_vector_is_its_text_s_alone(server: EmbeddingServer, special: object, reason: str) -> None:
    """The others have vectors, in order. The failing text is sent once more, alone."""
    server.special[TEXTS[2]] = special
    answers = await embed_with_retries(embedder(server.url), TEXTS, asyncio.to_thread)
    bad = answers.pop(2)
    assert isinstance(bad, UnusableVectorError)
    assert reason in str(bad)
    assert answers == [pytest.approx(unit(numbers_of(text))) for text in TEXTS[:2] + TEXTS[3:]]
    assert server.requests[-1] == [TEXTS[2]]
    assert len(server.requests) == 3


async def test_a_text_that_fails_only_among_others_gets_its_vector(server: EmbeddingServer) -> None:
    """The result of the second request, alone, is used."""
    server.change = lambda items: [item for item in items if len(items) == 1 or item["index"] != 3]
    answers = await embed_with_retries(embedder(server.url), TEXTS, asyncio.to_thread)
    assert answers == [pytest.approx(unit(numbers_of(text))) for text in TEXTS]


@pytest.mark.requirement("Embedding and loading", "a text that is refused fails alone, for good")
async def test_a_text_that_is_refused_stands_alone(server: EmbeddingServer) -> None:
    """400 for every request with this text. The others have vectors, and the text is not sent again and again."""
    server.refused.add(TEXTS[4])
    answers = await embed_with_retries(embedder(server.url, embedding_dimensions=8), TEXTS, asyncio.to_thread)
    bad = answers.pop(4)
    assert isinstance(bad, RefusedTextError)
    assert "answered 400" in str(bad)
    assert answers == [pytest.approx(unit(numbers_of(text))) for text in TEXTS[:4] + TEXTS[5:]]
    assert server.requests.count([TEXTS[4]]) == 1
    assert len(server.requests) <= 8


@pytest.mark.requirement("Embedding and loading", "a text that is refused fails alone, for good")
async def test_an_endpoint_that_refuses_everything_is_not_asked_for_each_text(server: EmbeddingServer) -> None:
    """For example a wrong model name: an error for all texts, after few requests."""
    server.refused.update([*TEXTS, PROBE])
    model = embedder(server.url, embedding_dimensions=8, embedding_concurrency=1)
    answers = await model.embed(TEXTS, asyncio.to_thread)
    assert {type(answer) for answer in answers} == {type(answers[0])}
    assert isinstance(answers[0], RefusedError)
    assert not isinstance(answers[0], RefusedTextError)
    assert len(server.requests) <= 5


async def test_a_model_that_gives_no_vector_at_all_is_not_asked_for_each_text(server: EmbeddingServer) -> None:
    """Seven wrong lengths are the model's fault: one request."""
    model = embedder(server.url, embedding_dimensions=99)
    answers = await embed_with_retries(model, TEXTS, asyncio.to_thread)
    assert {str(answer) for answer in answers} == {"the embedding model returned a vector of 8 instead of 99"}
    assert len(server.requests) == 1


async def test_too_many_requests_says_when(server: EmbeddingServer) -> None:
    """Seconds, a date, or nothing. Answers are kept, and no further request is sent."""
    model = embedder(server.url, embedding_dimensions=8, embedding_batch=2, embedding_concurrency=1)
    later = format_datetime(datetime.now(tz=UTC) + timedelta(seconds=100), usegmt=True)
    for headers, low, high in (
        ({"Retry-After": "17"}, 17, 17),
        ({"Retry-After": later}, 95, 100),
        ({}, 10, 10),
        ({"Retry-After": "9" * 12}, 86400, 86400),
    ):
        server.refusals.append((429, headers))
        (answer,) = await model.embed(["x"], asyncio.to_thread)
        assert isinstance(answer, BusyError)
        assert low <= answer.after <= high
        assert "429" in str(answer)
    server.requests.clear()
    server.then = (429, {"Retry-After": "5"})
    answers = await model.embed(TEXTS, asyncio.to_thread)
    assert [type(answer) for answer in answers] == [list] * 2 + [BusyError] * 5
    assert len(server.requests) == 2


@pytest.mark.requirement(
    "Embedding and loading",
    "429 → retry at `Retry-After`, other 4xx → permanent, 5xx and time-outs → retry",
)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusedError),
        (401, RefusedError),
        (404, RefusedError),
        (422, RefusedError),
        (408, EmbeddingAwayError),
        (500, EmbeddingAwayError),
        (502, EmbeddingAwayError),
        (503, EmbeddingAwayError),
        (307, EmbeddingError),
    ],
)
async def test_other_answers(server: EmbeddingServer, status: int, kind: type[Exception]) -> None:
    """4xx is permanent. 5xx, a timeout and unexpected errors may be retried. The server's words are only logged."""
    server.refusals.append((status, {}))
    (answer,) = await embedder(server.url).embed(["x"], asyncio.to_thread)
    assert isinstance(answer, kind)
    assert f"answered {status}" in str(answer)
    assert "not now" not in str(answer)
    assert server.url not in str(answer)


@pytest.mark.parametrize(
    "change",
    [
        lambda items: [*items, items[0]],
        lambda items: [{**item, "index": 7} for item in items],
        lambda items: [{**item, "index": -1} for item in items],
        lambda items: [{"embedding": item["embedding"]} for item in items],
        lambda _: "vectors",
    ],
)
async def test_an_answer_that_is_none_is_nobodys(server: EmbeddingServer, change: object) -> None:
    """If the assignment of vectors to texts is unclear, no text gets one."""
    model = embedder(server.url, embedding_dimensions=8)
    server.change = change  # type: ignore[assignment]  # also values that are not lists
    answers = await model.embed(TEXTS, asyncio.to_thread)
    assert {type(answer) for answer in answers} == {EmbeddingError}


async def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """An unavailable endpoint. The log has its address, the error has not: the document shows that."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        (answer,) = await embedder(url).embed(["x"], asyncio.to_thread)
    assert type(answer) is EmbeddingAwayError
    assert "127.0.0.1" not in str(answer)
    assert url in capsys.readouterr().out
