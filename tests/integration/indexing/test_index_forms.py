"""Hierarchical and custom documents: children are searched, parents are shown, also after failures."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import select, text

from streams.agents.knowledge import document_indexing as indexing
from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.dify.extraction.result import Extracted, Part
from streams.dify.ids import text_hash
from streams.dify.indexing import load, prepare
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment
from streams.dify.search import passages
from tests.support.platform.handler_runs import Site, open_site, prose

PARAGRAPHS = {
    "pre_processing_rules": [{"id": "remove_extra_spaces", "enabled": True}],
    "segmentation": {"separator": "\\n\\n", "max_tokens": 400},
    "parent_mode": "paragraph",
    "subchunk_segmentation": {"separator": ". ", "max_tokens": 100},
}
FULL_DOC = {"parent_mode": "full-doc", "subchunk_segmentation": {"separator": "\\n\\n", "max_tokens": 100}}


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several groups from a short document."""
    monkeypatch.setattr(load, "GROUP_SIZE", 7)
    monkeypatch.setattr(indexing, "INSERT_BATCH", 5)


async def _add(site: Site, dataset: Dataset, content: bytes, rules: Mapping[str, object]) -> Document:
    return await site.add_document(dataset, content, mode="hierarchical", rules=rules, doc_form="hierarchical_model")


async def _children(site: Site, document: Document) -> list[ChildChunk]:
    query = (
        select(ChildChunk)
        .join(DocumentSegment, DocumentSegment.id == ChildChunk.segment_id)
        .where(ChildChunk.document_id == document.id)
        .order_by(DocumentSegment.position, ChildChunk.position)
    )
    async with site.transaction() as session:
        return list(await session.scalars(query))


async def _contents(site: Site, document: Document) -> list[tuple[str, str]]:
    """Return parents and their children's contents, in order."""
    parents = {segment.id: segment.content for segment in await site.segments(document.id)}
    return [(parents[child.segment_id], child.content) for child in await _children(site, document)]


async def _metadata(site: Site, dataset: Dataset) -> dict[str, dict[str, object]]:
    """Return the metadata of the vectors, by their text."""
    table = f"embedding_vector_index_{dataset.id.replace('-', '_')}_node"[:63]
    async with site.transaction() as session:
        found = await session.execute(text(f"select text, meta from {table}"))
        return {row.text: row.meta for row in found}


PARTS = (
    Part("First page. Second sentence.", {"page": 1, "headings": "Leave > Sick"}),
    Part("Second page.", {"page": 2, "unknown": "x"}),
    Part("No page."),
)


@pytest.mark.requirement("Extraction", "each vector knows the page, row or section of its text")
@pytest.mark.parametrize("form", ["text_model", "hierarchical_model"])
async def test_vectors_know_the_place_of_their_part(site: Site, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Beside the platform's four keys. A later attempt reads the segments only, and writes these four keys."""
    monkeypatch.setattr(prepare, "extract", lambda *_: Extracted(PARTS))
    monkeypatch.setattr(load, "GROUP_SIZE", 1)
    dataset = await site.add_dataset()
    rules = PARAGRAPHS if form == "hierarchical_model" else {"segmentation": {"max_tokens": 50}}
    document = await site.add_document(dataset, b"x", mode="hierarchical", rules=rules, doc_form=form)

    await site.run(index_document, site.request(document))

    found = await _metadata(site, dataset)
    texts = ["First page", "Second sentence."] if form == "hierarchical_model" else [PARTS[0].text]
    places: dict[str, dict[str, object]] = {
        **{content: {"page": 1, "headings": "Leave > Sick"} for content in texts},
        "Second page.": {"page": 2},
        "No page.": {},
    }
    keys = {"doc_id", "doc_hash", "document_id", "dataset_id"}
    assert {content: {key: meta[key] for key in meta.keys() - keys} for content, meta in found.items()} == places
    assert all(meta.keys() >= keys for meta in found.values())
    assert [segment.position for segment in await site.segments(document.id)] == [1, 2, 3]


async def _vector_ids(site: Site, dataset: Dataset) -> set[str]:
    table = f"embedding_vector_index_{dataset.id.replace('-', '_')}_node"[:63]
    async with site.transaction() as session:
        return set(await session.scalars(text(f"select id::text from {table}")))


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "hierarchical documents: parents are segments, only children are vectors, a search shows the parent",
)
async def test_a_hierarchical_document_is_indexed(site: Site) -> None:
    """Paragraphs are segments, sentences are child chunks. Only chunks have vectors. All rows are completed."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset, b"One is red. Two is   blue.\n\nThree is green.", PARAGRAPHS)

    result = await site.run(index_document, site.request(document))

    done, segments, children = (
        await site.document(document.id),
        await site.segments(document.id),
        await _children(site, document),
    )
    assert result == {"segments": 2, "tokens": done.tokens}
    assert done.indexing_status == "completed"
    assert await _contents(site, document) == [
        ("One is red. Two is blue.", "One is red"),
        ("One is red. Two is blue.", "Two is blue."),
        ("Three is green.", "Three is green."),
    ]
    assert [(child.position, child.type, child.word_count) for child in children] == [
        (1, "automatic", 10),
        (2, "automatic", 12),
        (1, "automatic", 15),
    ]
    assert all(child.index_node_hash == text_hash(child.content) for child in children)
    assert all(child.indexing_at and child.completed_at and child.error is None for child in children)
    assert all(child.created_by == document.created_by and child.tenant_id == site.tenant_id for child in children)
    assert all(segment.status == "completed" and segment.enabled and segment.completed_at for segment in segments)
    assert await _vector_ids(site, dataset) == {child.index_node_id for child in children}


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "hierarchical documents: parents are segments, only children are vectors, a search shows the parent",
)
async def test_a_question_finds_the_parent_of_the_child_that_answers_it(site: Site) -> None:
    """The passage is the whole parent, once, although several of its children match."""
    dataset = await site.add_dataset()
    parent = b"Everyone has thirty days of leave. Ask for leave in writing. Leave ends in December."
    document = await _add(site, dataset, parent + b"\n\nThe printer eats green paper only.", PARAGRAPHS)
    await site.run(index_document, site.request(document))

    async with site.transaction() as session:
        found = await passages(session, site.platform, dataset.id, "How many days of leave do I have?", 2)

    assert [passage.text for passage in found] == [parent.decode(), "The printer eats green paper only."]


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "hierarchical documents: parents are segments, only children are vectors, a search shows the parent",
)
async def test_all_of_a_document_as_one_parent(site: Site) -> None:
    """At any length. Its paragraphs are the children, in one sequence."""
    dataset = await site.add_dataset()
    content = prose(40)
    document = await _add(site, dataset, content, FULL_DOC)
    await site.run(index_document, site.request(document))
    (segment,) = await site.segments(document.id)
    children = await _children(site, document)
    assert segment.content == content.decode().strip()
    assert [child.position for child in children] == list(range(1, len(children) + 1))
    assert await site.vectors(dataset.id) == len(children) > 100


async def test_a_custom_rule_splits_at_its_separator(site: Site) -> None:
    """Each part is a segment. Addresses and URLs are removed, images stay."""
    dataset = await site.add_dataset()
    rules: dict[str, object] = {
        "pre_processing_rules": [{"id": "remove_urls_emails", "enabled": True}],
        "segmentation": {"separator": "###", "max_tokens": 50, "chunk_overlap": 10},
    }
    content = b"one me@example.org###two https://example.org/x ###![p](https://example.org/p.png)"
    document = await site.add_document(dataset, content, mode="custom", rules=rules)
    await site.run(index_document, site.request(document))
    contents = [segment.content for segment in await site.segments(document.id)]
    # The exclamation mark is punctuation at the start of a piece.
    assert contents == ["one", "two", "[p](https://example.org/p.png)"]


@pytest.mark.requirement("Clean, rules, split, forms", "a crash after each step, in each form")
@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("rules", [PARAGRAPHS, FULL_DOC], ids=["paragraph", "full-doc"])
async def test_a_crash_after_any_step_is_made_good(site: Site, rules: Mapping[str, object]) -> None:
    """Killed after the first, second, … step, the next attempt ends with the same rows: none twice, none missing."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset, prose(4), rules)
    await site.run(index_document, site.request(document))
    expected = await _contents(site, document)
    step, crashed = 0, True
    while crashed:
        step += 1
        other = await _add(site, dataset, prose(4), rules)
        crashed = await site.crashes(index_document, site.request(other), step)
        await site.run(index_document, site.request(other))
        assert await _contents(site, other) == expected
        assert {segment.status for segment in await site.segments(other.id)} == {"completed"}
        assert None not in [child.completed_at for child in await _children(site, other)]
        assert (await site.document(other.id)).indexing_status == "completed"
        assert await site.vectors(dataset.id) == len(expected) * (step + 1)
    assert step > 7


@pytest.mark.usefixtures("small_groups")
async def test_a_parent_is_completed_with_its_last_child(site: Site) -> None:
    """A crash between two groups. A parent with children without vectors is not completed."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset, prose(4), PARAGRAPHS)
    seen = 0

    async def check(_: int) -> None:
        nonlocal seen
        open_parents = {child.segment_id for child in await _children(site, document) if child.completed_at is None}
        for segment in await site.segments(document.id):
            if (await site.document(document.id)).indexing_status == "indexing":
                assert segment.enabled == (segment.status == "completed") == (segment.id not in open_parents)
                seen += 1

    await site.run(index_document, site.request(document), after_step=check)
    assert seen > 8


@pytest.mark.requirement("Clean, rules, split, forms", "clean-up leaves no child chunk, answer or vector")
@pytest.mark.usefixtures("small_groups")
async def test_delete_wins_between_any_two_steps(site: Site) -> None:
    """The document is deleted after the first, second, … step: clean-up leaves no child chunk and no vector."""
    dataset = await site.add_dataset()
    step, stopped = 0, True
    while stopped:
        step += 1
        document = await _add(site, dataset, prose(2), PARAGRAPHS)

        async def remove(done: int, after: int = step, document_id: str = document.id) -> None:
            if done == after:
                await site.delete(Document, id=document_id)

        result = await site.run(index_document, site.request(document), after_step=remove)
        stopped = result == {"skipped": "the document is gone"}
        await site.delete(Document, id=document.id)
        await site.run(clean_document, site.document_deleted(document))
        assert await site.vectors(dataset.id) == 0
        for model in (DocumentSegment, ChildChunk):
            assert await site.count(model, document_id=document.id) == 0
    assert step > 6


async def test_indexing_again_replaces_parents_and_children(site: Site) -> None:
    """A waiting document with another content keeps nothing of the previous one."""
    dataset = await site.add_dataset()
    document = await _add(site, dataset, prose(3), PARAGRAPHS)
    await site.run(index_document, site.request(document))
    async with site.transaction() as session:
        row = await session.get_one(Document, document.id)
        row.indexing_status = "waiting"
        key = await session.scalar(text("select key from upload_files"))
    await site.platform.storage.write(str(key), b"Short now.")

    await site.run(index_document, site.request(document))

    assert await _contents(site, document) == [("Short now.", "Short now.")]
    assert await site.vectors(dataset.id) == 1
