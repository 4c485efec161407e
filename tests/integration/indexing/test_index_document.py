"""A document becomes segments and vectors exactly once, also with failures."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError

from schemas import DocumentIndexCreated, DocumentIndexRequested
from streams.agents.knowledge import document_indexing as indexing
from streams.agents.knowledge.document_indexing import index_document, request_document_indexing
from streams.delivery import Permanent
from streams.dify.embedding.cache import cache_vectors, cached_vectors
from streams.dify.ids import text_hash
from streams.dify.indexing import load
from streams.dify.models import Document, DocumentSegment, Embedding, UploadFile
from streams.dify.search import passages
from streams.dify.sources.reference import upload_file_id
from streams.dify.vector_stores.port import collection_name
from streams.storage import FileMissingError
from tests.support.platform.cleanup_steps import deleted_after_each_step
from tests.support.platform.handler_runs import CrashError, Site, open_site, prose


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several groups from a short document."""
    monkeypatch.setattr(load, "GROUP_SIZE", 4)
    monkeypatch.setattr(indexing, "INSERT_BATCH", 3)


@pytest.mark.requirement(
    "The work on the platform's tables",
    "index a document: statuses, times, counts, segments, vectors",
)
async def test_a_document_is_indexed(site: Site) -> None:
    """Every column that the platform shows is set. Segments, vectors and index_struct exist."""
    dataset = await site.add_dataset()
    content = prose(12)
    document = await site.add_document(dataset, content)

    result = await site.run(index_document, site.request(document))

    done = await site.document(document.id)
    segments = await site.segments(document.id)
    assert result == {"segments": len(segments), "tokens": done.tokens}
    assert done.indexing_status == "completed"
    assert done.word_count == len(content.decode().strip())
    assert done.error is None
    assert done.stopped_at is None
    times = [done.processing_started_at, done.parsing_completed_at, done.splitting_completed_at, done.completed_at]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]  # no value is None, see the line above
    assert done.cleaning_completed_at == done.splitting_completed_at
    assert done.indexing_latency is not None
    assert 0 <= done.indexing_latency < 60
    assert len(segments) > 5
    assert [segment.position for segment in segments] == list(range(1, len(segments) + 1))
    assert all(segment.status == "completed" and segment.enabled for segment in segments)
    assert all(segment.index_node_hash == text_hash(segment.content) for segment in segments)
    assert all(segment.word_count == len(segment.content) <= 500 for segment in segments)
    assert all(segment.tokens > 0 and segment.completed_at and segment.indexing_at for segment in segments)
    assert sum(segment.tokens for segment in segments) == done.tokens
    assert await site.vectors(dataset.id) == len(segments)
    async with site.transaction() as session:
        struct = (
            await session.execute(text("select index_struct::jsonb from datasets where id = :id"), {"id": dataset.id})
        ).scalar_one()
        row = (
            await session.execute(
                text(f"select id::text, text, meta, vector_dims(embedding) from {_table(dataset.id)} where id = :id"),
                {"id": segments[0].index_node_id},
            )
        ).one()
    assert struct == {
        "type": "pgvector",
        "vector_store": {"class_prefix": collection_name("Vector_index", dataset.id)},
    }
    assert row[1] == segments[0].content
    assert row[2] == {
        "doc_id": segments[0].index_node_id,
        "doc_hash": segments[0].index_node_hash,
        "document_id": document.id,
        "dataset_id": dataset.id,
    }
    assert row[3] == 256


def _table(dataset_id: str) -> str:
    return f"embedding_vector_index_{dataset_id.replace('-', '_')}_node"[:63]


@pytest.mark.requirement("The work on the platform's tables", "txt, md, html")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", b"# Leave\n\nEveryone has **thirty** days of leave.\n"),
        ("a.html", b"<html><body><h1>Leave</h1><p>Everyone has <b>thirty</b> days of leave.</p></body></html>"),
        ("a.TXT", b"Leave: everyone has thirty days of leave."),
    ],
)
async def test_each_kind_of_file_can_be_asked(site: Site, name: str, content: bytes) -> None:
    """A question finds the passage that answers it, for every file type."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, content, name=name)
    other = await site.add_document(dataset, b"The printer on the second floor eats green paper only.")
    for one in (document, other):
        await site.run(index_document, site.request(one))

    async with site.transaction() as session:
        found = await passages(session, site.platform, dataset.id, "How many days off do I have?", 2)

    assert [passage.document for passage in found] == [name, "page.txt"]
    assert "days of leave" in found[0].text
    assert found[0].score > found[1].score


async def test_a_repeat_does_nothing(site: Site) -> None:
    """A completed document is not changed, including its timestamps."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(3))
    await site.run(index_document, site.request(document))
    before = await site.document(document.id)

    assert await site.run(index_document, site.request(document)) == {"skipped": "the document is indexed already"}

    after = await site.document(document.id)
    assert after.completed_at == before.completed_at
    assert await site.vectors(dataset.id) == len(await site.segments(document.id))


@pytest.mark.requirement("The work on the platform's tables", "resumes after a crash without a duplicate")
@pytest.mark.requirement("Clean, rules, split, forms", "a crash after each step, in each form")
@pytest.mark.usefixtures("small_groups")
async def test_a_crash_after_any_step_is_made_good(site: Site) -> None:
    """Killed after the first, second, … step, the next attempt ends with the same rows: none twice, none missing."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(8))
    await site.run(index_document, site.request(document))
    expected = {(segment.position, segment.content) for segment in await site.segments(document.id)}
    step, crashed = 0, True
    while crashed:
        step += 1
        other = await site.add_document(dataset, prose(8))
        crashed = await site.crashes(index_document, site.request(other), step)
        await site.run(index_document, site.request(other))
        segments = await site.segments(other.id)
        assert {(segment.position, segment.content) for segment in segments} == expected
        assert len(segments) == len(expected)
        assert {segment.status for segment in segments} == {"completed"}
        assert (await site.document(other.id)).indexing_status == "completed"
        assert await site.vectors(dataset.id) == len(expected) * (step + 1)
    assert step > 6


@pytest.mark.requirement("The work on the platform's tables", "resumes after a crash without a duplicate")
@pytest.mark.usefixtures("small_groups")
async def test_a_crash_while_embedding_resumes_where_it_was(site: Site) -> None:
    """Segments with vectors keep their completion time. The others follow."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(8))

    async def kill(step: int) -> None:
        if step == 6:
            raise CrashError

    with pytest.raises(CrashError):
        await site.run(index_document, site.request(document), after_step=kill)
    halfway = {segment.id: segment.completed_at for segment in await site.segments(document.id) if segment.enabled}
    assert 0 < len(halfway) < len(await site.segments(document.id))
    assert (await site.document(document.id)).indexing_status == "indexing"

    await site.run(index_document, site.request(document))

    after = {segment.id: segment.completed_at for segment in await site.segments(document.id)}
    assert {key: after[key] for key in halfway} == halfway
    assert None not in after.values()


@pytest.mark.requirement("The work on the platform's tables", "the embedding cache in front of the model")
async def test_the_same_text_is_embedded_once(site: Site) -> None:
    """The second document's vectors come from the cache. An invalid entry is replaced."""
    dataset = await site.add_dataset()
    content = f"A text that nobody else has: {uuid4()}.".encode()
    first = await site.add_document(dataset, content)
    await site.run(index_document, site.request(first))
    key = text_hash(content.decode())
    assert await site.count(Embedding, hash=key) == 1
    async with site.transaction() as session:
        await session.execute(text("update embeddings set embedding = 'junk' where hash = :hash"), {"hash": key})

    second = await site.add_document(dataset, content)
    await site.run(index_document, site.request(second))

    assert await site.count(Embedding, hash=key) == 1
    async with site.transaction() as session:
        repaired = (
            await session.execute(text("select length(embedding) from embeddings where hash = :hash"), {"hash": key})
        ).scalar_one()
        found = await passages(session, site.platform, dataset.id, content.decode(), 2)
    assert repaired > 1000
    assert [math.isclose(passage.score, 1.0, abs_tol=1e-3) for passage in found] == [True, True]


async def test_a_document_that_is_asked_for_again_starts_afresh(site: Site) -> None:
    """The status is waiting and there are segments of an older content. They are deleted with their vectors."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(6))
    await site.run(index_document, site.request(document))
    async with site.transaction() as session:
        row = await session.get_one(Document, document.id)
        row.indexing_status = "waiting"
        file = await session.get_one(UploadFile, row.data_source_info[20:-2] if row.data_source_info else "")
        await site.platform.storage.write(file.key, b"Short now.")

    await site.run(index_document, site.request(document))

    assert [segment.content for segment in await site.segments(document.id)] == ["Short now."]
    assert await site.vectors(dataset.id) == 1


async def test_two_workers_cache_the_same_texts_in_opposite_orders(site: Site) -> None:
    """They wait for each other without a deadlock. Each text is stored once."""
    space = await site.platform.default_embedder.space(asyncio.to_thread)
    vector = [1.0] + [0.0] * 255
    keys = [text_hash(f"{uuid4()}") for _ in range(300)]

    async def cache(order: list[str]) -> None:
        async with site.transaction() as session:
            await cache_vectors(session, space, dict.fromkeys(order, vector))

    await asyncio.wait_for(asyncio.gather(*(cache(order) for order in (keys, keys[::-1], keys, keys[::-1]))), 30)
    async with site.transaction() as session:
        assert await cached_vectors(session, space, keys) == dict.fromkeys(keys, vector)


async def test_indexing_without_segments_starts_over(site: Site) -> None:
    """The platform may leave a document in `indexing` without segments. It is split again and never completed empty."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Some text.", indexing_status="indexing")
    await site.run(index_document, site.request(document))
    assert [segment.content for segment in await site.segments(document.id)] == ["Some text."]


async def test_two_documents_of_a_new_dataset_at_once(site: Site) -> None:
    """Both create the collection, and both complete."""
    dataset = await site.add_dataset()
    documents = [await site.add_document(dataset, prose(3)) for _ in range(4)]

    await asyncio.wait_for(
        asyncio.gather(*(site.run(index_document, site.request(document)) for document in documents)), 60
    )

    counts = [len(await site.segments(document.id)) for document in documents]
    assert await site.vectors(dataset.id) == sum(counts)
    assert {(await site.document(document.id)).indexing_status for document in documents} == {"completed"}


@pytest.mark.requirement("Bad input", "a file missing in the storage: retries, then DLQ")
async def test_a_missing_file_is_retried_and_can_come_later(site: Site) -> None:
    """An ordinary failure.

    As a dead letter, the document shows the reason. After the file exists, a new request completes.
    """
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, None)
    request = site.request(document)
    with pytest.raises(FileMissingError) as failure:
        await site.run(index_document, request)

    await site.die(index_document, request, failure.value)

    dead = await site.document(document.id)
    assert dead.indexing_status == "error"
    assert dead.error == str(failure.value)
    assert "is not in the storage" in dead.error
    assert dead.stopped_at is not None

    await site.platform.storage.write(failure.value.key, b"Here it is.")
    await site.run(index_document, request)
    alive = await site.document(document.id)
    assert (alive.indexing_status, alive.error, alive.stopped_at) == ("completed", None, None)


@pytest.mark.requirement("Extraction", "a document's error is one line, and never a statement of the database")
async def test_a_document_shows_no_statement_of_the_database(site: Site) -> None:
    """The error of a real statement, as the driver raises it."""
    document = await site.add_document(await site.add_dataset(), b"Fine.")
    with pytest.raises(DataError) as failure:
        async with site.transaction() as session:
            await session.execute(text("select 1 / 0 as secret_column"))

    await site.die(index_document, site.request(document), failure.value)

    assert "secret_column" in str(failure.value)
    dead = await site.document(document.id)
    assert dead.error == "the database stopped the work (DivisionByZero); the operator's log has the reason"


@pytest.mark.requirement("Bad input", "an empty text file is a document without segments, to be filled by the API")
@pytest.mark.parametrize("technique", ["high_quality", "economy"])
@pytest.mark.parametrize(
    "content", [b"", b"\xef\xbb\xbf \n\t", b"\xff\xfe \x00\n\x00"], ids=["empty", "blank", "utf-16"]
)
async def test_an_empty_text_file_is_completed_without_segments(site: Site, content: bytes, technique: str) -> None:
    """As on the platform. What the document had before is gone, and it can be indexed again."""
    dataset = await site.add_dataset(indexing_technique=technique)
    document = await site.add_document(dataset, b"Something else.", name="a.md")
    await site.run(index_document, site.request(document))
    async with site.transaction() as session:
        file = await session.get_one(UploadFile, upload_file_id("upload_file", document.data_source_info))
        (await session.get_one(Document, document.id)).indexing_status = "waiting"
    await site.platform.storage.write(file.key, content)

    for _ in range(2):
        assert await site.run(index_document, site.request(document)) == {"segments": 0, "tokens": 0}
        done = await site.document(document.id)
        assert (done.indexing_status, done.word_count, done.error) == ("completed", 0, None)
        assert await site.segments(document.id) == []
        assert technique == "economy" or await site.vectors(dataset.id) == 0
        async with site.transaction() as session:
            (await session.get_one(Document, document.id)).indexing_status = "waiting"


async def test_a_death_never_overwrites_completed(site: Site) -> None:
    """A late dead letter of an older delivery does not change the completed document."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Fine.")
    await site.run(index_document, site.request(document))

    await site.die(index_document, site.request(document), RuntimeError("late"))

    assert (await site.document(document.id)).indexing_status == "completed"


@pytest.mark.requirement(
    "Bad input",
    "a corrupt or empty file, an unknown rule or form: permanent, the document says why",
)
@pytest.mark.requirement("Clean, rules, split, forms", "the limits and their errors")
@pytest.mark.parametrize(
    ("content", "name", "columns", "message"),
    [
        (b"", "a.pdf", {}, "the file is empty"),
        (b"...!!!...", "a.txt", {}, "nothing but punctuation"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a.txt", {}, "is binary, not text"),
        (b"abc\x00def", "a.md", {}, "is binary"),
        (b"\x00", "a.dwg", {}, "files of type dwg are not supported yet"),
        (b"text", "a.txt", {"mode": "custom"}, "'custom' is empty"),
        (b"text", "a.txt", {"mode": "custom", "rules": {"segmentation": {"max_tokens": 9}}}, "must be from 50 to 4000"),
        (b"text", "a.txt", {"mode": "magic"}, "'magic' is unknown"),
        (b"text", "a.txt", {"doc_form": "poem"}, "'poem' is unknown"),
        (b"text", "a.txt", {"doc_form": "qa_model"}, "STREAMS_CHAT_URL"),
        (b"text", "a.txt", {"doc_form": "hierarchical_model"}, "has no subchunk_segmentation"),
        (b"text", "a.txt", {"dataset_process_rule_id": None}, "no process rule"),
        (b"text", "a.txt", {"data_source_type": "carrier_pigeon"}, "from carrier_pigeon are not supported yet"),
        (b"text", "a.txt", {"data_source_info": "{"}, "names no upload file"),
    ],
)
async def test_what_cannot_be_indexed_is_refused_for_good(
    site: Site, content: bytes, name: str, columns: dict[str, object], message: str
) -> None:
    """Permanent, with a message for a user. The document shows it."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, content, name=name, **columns)  # type: ignore[arg-type]  # names of the table above
    with pytest.raises(Permanent, match=message) as refusal:
        await site.run(index_document, site.request(document))

    await site.die(index_document, site.request(document), refusal.value)

    shown = await site.document(document.id)
    assert shown.indexing_status == "error"
    assert message in (shown.error or "")
    assert await site.segments(document.id) == []


@pytest.mark.requirement(
    "Bad input",
    "a corrupt or empty file, an unknown rule or form: permanent, the document says why",
)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"indexing_technique": "magic"}, "'magic' is not supported yet"),
        ({"indexing_technique": None}, "None is not supported yet"),
        ({"embedding_model": "ada", "embedding_model_provider": "openai"}, "'ada' of 'openai' is not configured"),
        ({"index_struct": "{"}, "index_struct is not the platform's"),
    ],
)
async def test_a_dataset_that_asks_for_more_is_refused_for_good(
    site: Site, columns: dict[str, str | None], message: str
) -> None:
    """Permanent: no other technique or model is used instead of the requested one."""
    dataset = await site.add_dataset(**columns)
    document = await site.add_document(dataset, b"text")
    with pytest.raises(Permanent, match=message):
        await site.run(index_document, site.request(document))


async def test_ids_that_are_none_are_refused_for_good(site: Site) -> None:
    """An event with an invalid id is rejected, and its dead letter changes nothing."""
    request = DocumentIndexRequested(dataset_id=str(uuid4()), document_id="42")
    with pytest.raises(Permanent, match="document_id '42' is not a UUID") as refusal:
        await site.run(index_document, request)
    await site.die(index_document, request, refusal.value)


async def test_gone_and_paused_documents_are_left_alone(site: Site) -> None:
    """The dataset or document has no row, or is paused: nothing to do, and no failure."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"text", is_paused=True)
    assert await site.run(index_document, site.request(document)) == {"skipped": "the document is paused"}
    assert (await site.document(document.id)).indexing_status == "waiting"
    await site.delete(Document, id=document.id)
    assert await site.run(index_document, site.request(document)) == {"skipped": "the document is gone"}
    stranger = site.request(document).model_copy(update={"dataset_id": str(uuid4())})
    assert await site.run(index_document, stranger) == {"skipped": "the dataset is gone"}


@pytest.mark.requirement("The work on the platform's tables", "delete wins")
@pytest.mark.usefixtures("small_groups")
async def test_delete_wins_between_any_two_steps(site: Site) -> None:
    """The document is deleted after the first, second, … step: indexing stops, clean-up leaves nothing."""
    dataset = await site.add_dataset()
    steps = 0
    async for document in deleted_after_each_step(site, dataset):
        steps += 1
        assert await site.vectors(dataset.id) == 0
        assert await site.count(DocumentSegment, document_id=document.id) == 0
    assert steps > 4


@pytest.mark.requirement("The work on the platform's tables", "delete wins")
@pytest.mark.requirement("Races", "delete of the document before, at and after each step")
async def test_a_delete_waits_for_the_step_that_is_under_way(site: Site) -> None:
    """While a step's transaction is open, neither row can be deleted. So nothing is written after a DELETE."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    tried: list[str] = []

    async def try_to_delete(step: int) -> None:
        for table, row in (("documents", document.id), ("datasets", dataset.id)):
            with pytest.raises(OperationalError, match="lock timeout"):
                await _delete_at_once(site, table, row)
            tried.append(f"{step} {table}")

    await site.run(index_document, site.request(document), before_commit=try_to_delete)
    assert len(tried) >= 10


async def _delete_at_once(site: Site, table: str, row: str) -> None:
    async with site.transaction() as session:
        await session.execute(text("set local lock_timeout = '50ms'"))
        await session.execute(text(f"delete from {table} where id = :id"), {"id": row})


@pytest.mark.requirement("Schemas", "one message a document")
async def test_each_document_is_requested_once(site: Site) -> None:
    """`document.index-created` becomes one request per document, in order."""
    dataset_id = str(uuid4())
    ids = [str(UUID(int=number)) for number in (3, 1, 2, 3)]
    event = DocumentIndexCreated(tenant_id=site.tenant_id, dataset_id=dataset_id, document_ids=ids)

    assert await site.run(request_document_indexing, event) == {"requested": 3}

    published = await site.published()
    assert [
        (one.dataset_id, one.document_id, one.tenant_id) for one in published if isinstance(one, DocumentIndexRequested)
    ] == [(dataset_id, document_id, site.tenant_id) for document_id in ids[:3]]
    assert len({one.event_id for one in published}) == 3
