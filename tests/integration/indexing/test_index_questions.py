"""`qa_model`: questions and answers of every chunk, without losses, for any behaviour of the chat endpoint."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.database.tables import answered_chunks
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import NoAnswerError
from streams.dify.ids import text_hash
from streams.dify.indexing.answer_cache import answer_key
from streams.dify.models import Dataset, Document, DocumentSegment
from streams.dify.qa import chat as chat_module
from streams.dify.qa.chat import ChatEndpoint
from streams.dify.search import passages
from tests.support.fakes.chat_server import Answer, ChatServer, Reply, chat_server, completion, two_pairs
from tests.support.platform.handler_runs import Site, open_site

CHUNKS = [f"Room {number}. Its door is open on day {number * 3}." for number in range(1, 13)]
LINES: Mapping[str, object] = {"segmentation": {"separator": "\\n", "max_tokens": 100}}
BUSY = 429


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ChatServer, str]]:
    monkeypatch.setattr(chat_module, "FIRST_WAIT", 0.01)
    with chat_server() as opened:
        yield opened


@pytest.fixture
def server(chat: tuple[ChatServer, str]) -> ChatServer:
    return chat[0]


@pytest.fixture
async def site(database_url: str, tmp_path: Path, chat: tuple[ChatServer, str]) -> AsyncIterator[Site]:
    endpoint = ChatEndpoint(f"{chat[1]}/v1", "the-model", SecretStr("the-key"), timeout=20)
    async with open_site(database_url, tmp_path) as opened:
        yield replace(opened, platform=replace(opened.platform, chat=endpoint))


async def _add(site: Site, dataset: Dataset, **columns: str) -> Document:
    content = "\n".join(CHUNKS).encode()
    return await site.add_document(dataset, content, mode="custom", rules=LINES, doc_form="qa_model", **columns)


async def _pairs(site: Site, document: Document) -> list[tuple[int, str, str | None]]:
    return [(segment.position, segment.content, segment.answer) for segment in await site.segments(document.id)]


def _expected() -> list[tuple[int, str, str | None]]:
    """Return two pairs per chunk, in the order of the chunks."""
    pairs: list[tuple[int, str, str | None]] = []
    for number, chunk in enumerate(CHUNKS, start=1):
        pairs.append((2 * number - 1, f"What of Room {number}?", chunk))
        pairs.append((2 * number, f"Where is Room {number}?", "In the text."))
    return pairs


async def _kept_chunks(site: Site) -> list[str]:
    """Return the chunks whose answers are stored for the next attempt."""
    async with site.transaction() as session:
        keys = set(await session.scalars(select(answered_chunks.c.key)))
    return [chunk for chunk in CHUNKS if answer_key("the-model", "English", chunk) in keys]


async def _kept(site: Site) -> int:
    async with site.transaction() as session:
        return await session.scalar(select(func.count()).select_from(answered_chunks)) or 0


def _for(wanted: str, other: Answer) -> Answer:
    """Return `other` for one chunk, and a valid answer for the rest."""
    return lambda text, before: other(text, before) if text == wanted else two_pairs(text, before)


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "Q&A documents: pairs in the text's order, several chunks at once",
)
async def test_a_document_becomes_questions_and_answers(site: Site, server: ChatServer) -> None:
    """The content is the question, with its answer, in the order of the text. Several chunks are sent concurrently."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset, doc_language="Deutsch")
    server.together = Barrier(4)

    result = await site.run(index_document, site.request(document))

    done, segments = await site.document(document.id), await site.segments(document.id)
    assert result == {"segments": 2 * len(CHUNKS), "tokens": done.tokens}
    assert done.indexing_status == "completed"
    assert await _pairs(site, document) == _expected()
    assert all(segment.status == "completed" and segment.enabled for segment in segments)
    assert all(segment.index_node_hash == text_hash(segment.content) for segment in segments)
    assert all(segment.word_count == len(segment.content) for segment in segments)
    assert await site.vectors(dataset.id) == len(segments)
    assert server.request_counts == dict.fromkeys(CHUNKS, 1)
    assert {str(request["model"]) for request in server.requests} == {"the-model"}
    assert all("Deutsch" in str(request["messages"]) for request in server.requests)
    assert set(server.keys) == {"Bearer the-key"}
    assert await _kept(site) == 0


async def test_a_question_is_answered(site: Site) -> None:
    """The vectors belong to the questions. The pair is shown."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset)
    await site.run(index_document, site.request(document))
    async with site.transaction() as session:
        (found,) = await passages(session, site.platform, dataset.id, "What of Room 7?", 1)
    assert found.text == f"question:What of Room 7? answer:{CHUNKS[6]}"


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "each chunk is retried on its own, none is silently lost, what is answered is kept",
)
@pytest.mark.parametrize(
    "trouble",
    [
        Reply(BUSY, b"slow down", {"Retry-After": "0"}),
        Reply(BUSY, b"slow down"),
        Reply(500, b"oops"),
        Reply(503, b"oops"),
        Reply(200, b"<html>"),
        Reply(200, b'{"choices": []}'),
        completion(None),
        completion("I would rather not."),
        completion("Q1: What of it?\nA1: Ro", finish_reason="length"),
    ],
)
async def test_one_chunks_trouble_is_its_own(site: Site, server: ChatServer, trouble: Reply) -> None:
    """It is sent again within the attempt until there is an answer. The others are sent once."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset)
    server.answer = _for(CHUNKS[4], lambda text, before: trouble if before < 2 else two_pairs(text, before))
    await site.run(index_document, site.request(document))
    assert await _pairs(site, document) == _expected()
    assert server.request_counts == {**dict.fromkeys(CHUNKS, 1), CHUNKS[4]: 3}


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "each chunk is retried on its own, none is silently lost, what is answered is kept",
)
async def test_a_chunk_that_fails_for_good_fails_the_attempt_and_nothing_else(site: Site, server: ChatServer) -> None:
    """There is no segment without it. Answers are stored, and the next attempt sends only the missing chunks."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset)
    server.answer = _for(CHUNKS[0], lambda _, __: completion("I would rather not."))

    with pytest.raises(NoAnswerError, match="I would rather not") as failure:
        await site.run(index_document, site.request(document))

    assert await site.segments(document.id) == []
    assert await _kept(site) == len(CHUNKS) - 1
    assert server.request_counts[CHUNKS[0]] == 3
    await site.die(index_document, site.request(document), failure.value)
    assert "I would rather not" in str((await site.document(document.id)).error)

    server.answer = two_pairs
    server.request_counts.clear()
    await site.run(index_document, site.request(document))
    assert server.request_counts == {CHUNKS[0]: 1}
    assert await _pairs(site, document) == _expected()
    assert await _kept(site) == 0


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "the chat endpoint: `Retry-After` → retry at that time, other 4xx → permanent, gone → retry",
)
async def test_a_long_pause_is_a_retry_at_that_time(site: Site, server: ChatServer) -> None:
    """429 with `Retry-After: 90`: no further chunk is sent, and the delivery is retried after 90 s."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset)
    server.answer = lambda _, __: Reply(BUSY, b"slow down", {"Retry-After": "90"})
    with pytest.raises(Retry, match="answered 429") as asked:
        await site.run(index_document, site.request(document))
    assert asked.value.after == 90
    assert server.request_counts.total() <= 10
    assert (await site.document(document.id)).indexing_status == "splitting"


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "the chat endpoint: `Retry-After` → retry at that time, other 4xx → permanent, gone → retry",
)
async def test_an_endpoint_that_is_gone_is_a_retry(site: Site) -> None:
    """No server listens. It does not count as an attempt, and ends after a few chunks."""
    dead = ChatEndpoint("http://127.0.0.1:9/v1", "the-model", None, timeout=5)
    elsewhere = replace(site, platform=replace(site.platform, chat=dead))
    document = await _add(elsewhere, await elsewhere.add_dataset())
    with pytest.raises(Unavailable, match="the chat endpoint does not answer"):
        await elsewhere.run(index_document, elsewhere.request(document))


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "the chat endpoint: `Retry-After` → retry at that time, other 4xx → permanent, gone → retry",
)
async def test_a_refusal_is_for_good(site: Site, server: ChatServer) -> None:
    """401: no retry can succeed. The document shows the status; the endpoint's own words are only logged."""
    document = await _add(site, await site.add_dataset())
    server.answer = lambda _, __: Reply(401, b"the key is not known")
    with pytest.raises(Permanent, match=r"the chat endpoint answered 401$"):
        await site.run(index_document, site.request(document))
    assert server.request_counts.total() <= 10


@pytest.mark.requirement("Clean, rules, split, forms", "a crash after each step, in each form")
async def test_a_crash_after_any_step_is_made_good(site: Site, server: ChatServer) -> None:
    """Killed after the first, second, … step, the next attempt ends with the same rows and sends nothing twice."""
    dataset = await site.add_dataset()
    step, crashed, most_kept = 0, True, 0
    while crashed:
        step += 1
        server.request_counts.clear()
        document = await _add(site, dataset)
        crashed = await site.crashes(index_document, site.request(document), step)
        # Other requests may have reached the server only after the worker's death.
        kept = await _kept_chunks(site)
        await site.run(index_document, site.request(document))
        assert await _pairs(site, document) == _expected()
        assert {chunk: server.request_counts[chunk] for chunk in kept} == dict.fromkeys(kept, 1)
        assert await site.vectors(dataset.id) == 2 * len(CHUNKS) * step
        assert await _kept(site) == 0
        most_kept = max(most_kept, len(kept))
    assert step > 5
    assert most_kept > 5


@pytest.mark.requirement("Clean, rules, split, forms", "clean-up leaves no child chunk, answer or vector")
async def test_delete_wins_between_any_two_steps(site: Site) -> None:
    """Deleted after the first, second, … step: no answers, segments or vectors are left."""
    dataset = await site.add_dataset()
    step, stopped = 0, True
    while stopped:
        step += 1
        document = await _add(site, dataset)

        async def remove(done: int, after: int = step, document_id: str = document.id) -> None:
            if done == after:
                await site.delete(Document, id=document_id)

        result = await site.run(index_document, site.request(document), after_step=remove)
        stopped = result == {"skipped": "the document is gone"}
        await site.delete(Document, id=document.id)
        await site.run(clean_document, site.document_deleted(document))
        assert await _kept(site) == 0
        assert await site.vectors(dataset.id) == 0
        assert await site.count(DocumentSegment, document_id=document.id) == 0
    assert step > 5


@pytest.mark.requirement("Clean, rules, split, forms", "clean-up leaves no child chunk, answer or vector")
async def test_a_deleted_dataset_leaves_no_answers(site: Site, server: ChatServer) -> None:
    """Also the answers of an indexing that became a dead letter."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset)
    server.answer = _for(CHUNKS[0], lambda _, __: completion("no"))
    with pytest.raises(NoAnswerError):
        await site.run(index_document, site.request(document))
    assert await _kept(site) > 0
    await site.delete(Document, id=document.id)
    await site.delete(Dataset, id=dataset.id)
    await site.run(clean_dataset, site.dataset_deleted(dataset))
    assert await _kept(site) == 0


@pytest.mark.requirement("Embedding and loading", "hierarchical and question documents in economy datasets")
async def test_questions_are_found_by_their_keywords(site: Site) -> None:
    """In an economy dataset: no vector, no tokens, and an answer for each question."""
    dataset = await site.add_dataset(indexing_technique="economy")
    document = await _add(site, dataset)
    await site.run(index_document, site.request(document))

    segments = await site.segments(document.id)
    assert await _pairs(site, document) == _expected()
    assert all(segment.keywords and segment.status == "completed" and segment.tokens == 0 for segment in segments)
    assert await site.vectors(dataset.id) == 0
    async with site.transaction() as session:
        (best, *_) = await passages(session, site.platform, dataset.id, segments[4].content, 1)
    assert best.text in {f"question:{segment.content} answer:{segment.answer}" for segment in segments}
