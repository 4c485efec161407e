"""Indexing with a model behind HTTP: its failures retry the delivery, invalid vectors affect one text only."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from streams.agents.knowledge.document_indexing import index_document
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.embedding.openai import build_openai_embedder
from streams.dify.errors import EmbeddingError
from streams.dify.indexing import load
from streams.dify.models import ChildChunk, Document, Embedding
from streams.dify.search import passages
from streams.settings import Settings
from tests.support.fakes.embedding_server import EmbeddingServer, embedding_server
from tests.support.platform.handler_runs import Site, open_site, prose


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running


@pytest.fixture
async def site(
    database_url: str, tmp_path: Path, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """The default model is the server's, with a new name each time so that nothing is cached; four rows per group."""
    monkeypatch.setattr(load, "GROUP_SIZE", 4)
    provider = f"openai {server.url}"
    model = build_openai_embedder(
        Settings(
            embedding_url=server.url,
            embedding_provider=provider,
            embedding_model="test-model",
            embedding_batch=2,
            embedding_concurrency=1,
        )
    )
    async with open_site(database_url, tmp_path) as opened:
        async with opened.transaction() as session:
            await session.execute(text("delete from embeddings where provider_name = :name"), {"name": provider})
        yield replace(
            opened,
            platform=replace(opened.platform, default_embedder=model, embedders={(model.provider, model.model): model}),
        )


async def contents(site: Site, document: Document) -> list[str]:
    return [segment.content for segment in await site.segments(document.id)]


async def test_a_document_is_indexed_and_found(site: Site, server: EmbeddingServer) -> None:
    """Each text is embedded once. A second document with the same texts sends none."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(8))
    await site.run(index_document, site.request(document))
    texts = await contents(site, document)
    assert sorted(server.texts) == sorted([*texts, "dimensions"])
    assert max(map(len, server.requests)) == 2
    server.requests.clear()

    await site.run(index_document, site.request(await site.add_document(dataset, prose(8))))

    assert server.requests == []
    assert await site.vectors(dataset.id) == 2 * len(texts)
    async with site.transaction() as session:
        (best,) = await passages(session, site.platform, dataset.id, texts[3], 1)
    assert best.text == texts[3]
    assert best.score == pytest.approx(1.0, abs=1e-5)


@pytest.mark.requirement(
    "Embedding and loading",
    "a vector with NaN or a wrong length fails that text alone, never shifts or poisons others",
)
@pytest.mark.parametrize("special", [[float("nan")] * 8, [1.0] * 9, None], ids=["nan", "length", "none"])
async def test_a_bad_vector_fails_its_segment_alone(site: Site, server: EmbeddingServer, special: object) -> None:
    """The others are loaded and found by their own texts.

    The attempt fails and names the segment. A retry can succeed.
    """
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(8))
    probe = await site.add_document(dataset, prose(8))
    await site.run(index_document, site.request(probe))
    texts = await contents(site, probe)
    async with site.transaction() as session:
        await session.execute(text("delete from embeddings where provider_name = :n"), {"n": f"openai {server.url}"})
    server.requests.clear()
    server.special[texts[2]] = special

    with pytest.raises(EmbeddingError, match=r"1 of the document's segments got no vector: segment 3: .*'") as failure:
        await site.run(index_document, site.request(document))

    segments = await site.segments(document.id)
    bad = segments.pop(2)
    assert (bad.status, bad.enabled) == ("error", False)
    assert bad.error is not None
    assert bad.error in str(failure.value)
    assert texts[2][:50] in bad.error
    assert {segment.status for segment in segments} == {"completed"}
    assert server.texts.count(texts[2]) == 2
    assert [texts[2]] in server.requests
    assert await site.vectors(dataset.id) == 2 * len(texts) - 1
    assert (await site.document(document.id)).indexing_status == "indexing"
    async with site.transaction() as session:
        for number in (1, 3):
            best = (await passages(session, site.platform, dataset.id, texts[number], 1))[0]
            assert best.text == texts[number]
            assert best.score == pytest.approx(1.0, abs=1e-5)
    await site.die(index_document, site.request(document), failure.value)
    shown = await site.document(document.id)
    assert (shown.indexing_status, shown.error) == ("error", str(failure.value))

    server.special.clear()
    server.requests.clear()
    async with site.transaction() as session:
        (await session.get_one(Document, document.id)).indexing_status = "indexing"
    await site.run(index_document, site.request(document))

    assert server.texts == [texts[2]]
    assert {(segment.status, segment.error) for segment in await site.segments(document.id)} == {("completed", None)}
    assert (await site.document(document.id)).indexing_status == "completed"
    assert await site.vectors(dataset.id) == 2 * len(texts)


@pytest.mark.requirement("Embedding and loading", "a text that is refused fails alone, for good")
async def test_a_refused_text_fails_its_segment_for_good(site: Site, server: EmbeddingServer) -> None:
    """Permanent, with the segment's position and the endpoint's message.

    The rest is loaded, so a fixed document continues.
    """
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(8))
    probe = await site.add_document(dataset, prose(8))
    await site.run(index_document, site.request(probe))
    texts = await contents(site, probe)
    async with site.transaction() as session:
        await session.execute(text("delete from embeddings where provider_name = :n"), {"n": f"openai {server.url}"})
    server.refused.add(texts[2])

    with pytest.raises(Permanent, match=r"1 of the document's segments got no vector: segment 3: .*400") as failure:
        await site.run(index_document, site.request(document))
    await site.die(index_document, site.request(document), failure.value)

    shown = await site.document(document.id)
    assert (shown.indexing_status, shown.error) == ("error", str(failure.value))
    assert await site.vectors(dataset.id) == 2 * len(texts) - 1
    server.refused.clear()
    server.requests.clear()
    await site.run(index_document, site.request(document))
    assert server.texts == [texts[2]]
    assert (await site.document(document.id)).indexing_status == "completed"


@pytest.mark.requirement(
    "Embedding and loading",
    "a vector with NaN or a wrong length fails that text alone, never shifts or poisons others",
)
async def test_a_bad_vector_of_a_child_chunk(site: Site, server: EmbeddingServer) -> None:
    """The chunk shows the reason, and its segment has the status error. After the fix, both have no error."""
    dataset = await site.add_dataset()
    rules = {
        "segmentation": {"separator": "\n\n", "max_tokens": 500},
        "parent_mode": "paragraph",
        "subchunk_segmentation": {"separator": "|", "max_tokens": 50},
    }
    document = await site.add_document(
        dataset, b"one|two|three\n\nfour|five", mode="hierarchical", rules=rules, doc_form="hierarchical_model"
    )
    server.special["two"] = [float("nan")] * 8

    with pytest.raises(
        EmbeddingError, match="segment 1: the embedding model returned a vector with a number that is not finite: 'two'"
    ):
        await site.run(index_document, site.request(document))

    assert [segment.status for segment in await site.segments(document.id)] == ["error", "completed"]
    assert await site.vectors(dataset.id) == 4
    server.special.clear()
    await site.run(index_document, site.request(document))
    assert [segment.status for segment in await site.segments(document.id)] == ["completed", "completed"]
    assert await site.count(ChildChunk, document_id=document.id, error=None) == 5
    assert await site.vectors(dataset.id) == 5


@pytest.mark.requirement(
    "Embedding and loading",
    "429 → retry at `Retry-After`, other 4xx → permanent, 5xx and time-outs → retry",
)
async def test_too_many_requests_is_a_retry_at_that_time(site: Site, server: EmbeddingServer) -> None:
    """Earlier answers are loaded and not requested again."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(8))
    server.then = (429, {"Retry-After": "33"})
    await site.platform.default_embedder.space(lambda function, argument: function(argument))
    server.refusals.clear()
    server.requests.clear()

    with pytest.raises(Retry) as asked:
        await site.run(index_document, site.request(document))

    assert asked.value.after == 33
    answered = set(server.requests[0])
    assert len(answered) == 2
    assert await site.vectors(dataset.id) == 2
    assert await site.count(Embedding, provider_name=site.platform.default_embedder.provider) == 2
    server.then = None
    server.requests.clear()
    await site.run(index_document, site.request(document))
    assert answered.isdisjoint(server.texts)
    assert (await site.document(document.id)).indexing_status == "completed"


@pytest.mark.requirement(
    "Embedding and loading",
    "429 → retry at `Retry-After`, other 4xx → permanent, 5xx and time-outs → retry",
)
@pytest.mark.parametrize(("status", "kind"), [(500, Unavailable), (401, Permanent), (400, Permanent)])
async def test_other_failures(site: Site, server: EmbeddingServer, status: int, kind: type[Exception]) -> None:
    """5xx does not count as an attempt, 4xx is permanent. The message has the status, and nothing of the endpoint."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    server.refusals.append((status, {}))
    with pytest.raises(kind, match=f"the embedding model test-model answered {status}"):
        await site.run(index_document, site.request(document))
