"""Documents of each kind for the tests of races, and comparable snapshots of all rows of a document."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select, text

from streams.agents.knowledge.document_indexing import index_document
from streams.dify.models import ChildChunk, Dataset, DatasetKeywordTable, Document, DocumentSegment, UploadFile
from streams.dify.search import passages
from streams.dify.sources.reference import upload_file_id
from tests.support.platform.cleanup_steps import left, stored
from tests.support.platform.document_files import png, word
from tests.support.platform.handler_runs import Site, prose

PARAGRAPHS = {
    "pre_processing_rules": [],
    "segmentation": {"separator": "\\n\\n", "max_tokens": 400},
    "parent_mode": "paragraph",
    "subchunk_segmentation": {"separator": ". ", "max_tokens": 100},
}
Hook = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of indexing, with a content and another one to replace it."""

    content: bytes
    other: bytes
    words: tuple[str, str]
    """The words that find the content, and the other one."""
    technique: str = "high_quality"
    file: str = "page.txt"
    columns: dict[str, Any] = field(default_factory=dict)

    async def dataset(self, site: Site) -> Dataset:
        return await site.add_dataset(indexing_technique=self.technique)

    async def document(self, site: Site, dataset: Dataset) -> Document:
        return await site.add_document(dataset, self.content, name=self.file, **self.columns)


_ROOMS = prose(3)
_CELLARS = b"\n\n".join(b"Cellar %d holds old wine." % number + b" Quiet." * 60 for number in range(3))
_WORDS = ("The door of room 14 is open", "Cellar holds old wine")
_HIERARCHICAL = {"doc_form": "hierarchical_model", "mode": "hierarchical", "rules": PARAGRAPHS}
KINDS = {
    "text": Kind(_ROOMS, _CELLARS, _WORDS),
    "children": Kind(
        prose(2)[:520], b"Cellar 1 holds old wine. It is cold. Bring a coat.", _WORDS, columns=_HIERARCHICAL
    ),
    "keywords": Kind(_ROOMS, _CELLARS, _WORDS, technique="economy"),
    "images": Kind(
        word(pictures=(png(1), png(2)), paragraphs=("Everyone has thirty days of leave.",) * 9),
        word(pictures=(png(2), png(3)), paragraphs=("The kettle is in the kitchen.",) * 9),
        ("days of leave", "kettle in the kitchen"),
        file="leave.docx",
    ),
}


def of_each_kind(metafunc: pytest.Metafunc, *names: str) -> None:
    """Parametrise the tests of a module that have a `kind`."""
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", [KINDS[name] for name in names], ids=names)


async def snapshot(site: Site, dataset: Dataset, document_id: str) -> dict[str, Any]:
    """Return all rows of a document, without ids and times. Fails if ids that belong together differ."""
    document = await site.document(document_id)
    segments = await site.segments(document_id)
    async with site.transaction() as session:
        children = list(await session.scalars(select(ChildChunk).where(ChildChunk.document_id == document_id)))
        mark = f"document:{document_id}"
        images = list(await session.scalars(select(UploadFile).where(UploadFile.source_url == mark)))
        keyword_table = await session.scalar(
            select(DatasetKeywordTable.keyword_table).where(DatasetKeywordTable.dataset_id == dataset.id)
        )
        vectors = await _vectors(session, dataset.id, document_id)
    rows: list[DocumentSegment | ChildChunk] = [*segments, *children]
    by_node = {row.index_node_id: row.content for row in rows}
    positions = {segment.id: segment.position for segment in segments}
    names = {image.id: f"image {image.size}" for image in images}
    assert {f"{image.key}" for image in images} <= stored(site)
    # A link contains the document's id, so its number of tokens varies.
    tokens = "of links" if images else None
    wanted: list[DocumentSegment | ChildChunk]
    wanted = [] if dataset.indexing_technique == "economy" else [*children] or [*segments]
    assert sorted(vectors) == sorted((row.index_node_id, row.content, row.index_node_hash) for row in wanted)
    assert all(row.created_at == document.processing_started_at for row in rows)
    return {
        "document": (document.indexing_status, document.word_count, tokens or document.tokens, document.error),
        "segments": [
            (
                segment.position,
                _plain(segment.content, names),
                segment.answer,
                tokens or segment.tokens,
                segment.status,
                segment.enabled,
                segment.error,
                segment.completed_at is not None,
                segment.keywords,
            )
            for segment in segments
        ],
        "children": sorted(
            (positions[child.segment_id], child.position, child.content, child.completed_at is not None)
            for child in children
        ),
        "keywords": _keywords(keyword_table, by_node, names),
        "images": sorted(names.values()),
        "tables": {name: n for name, n in (await left(site, document_id=document_id)).items() if name != "vectors"},
    }


def _plain(content: str, names: dict[str, str]) -> str:
    """Replace the ids of images, which depend on the document's id."""
    for file_id, name in names.items():
        content = content.replace(file_id, name)
    return content


async def _vectors(session: Any, dataset_id: str, document_id: str) -> list[tuple[str, str, str]]:  # noqa: ANN401 - a session
    table = f"embedding_vector_index_{dataset_id.replace('-', '_')}_node"[:63]
    if await session.scalar(text("select to_regclass(:name)"), {"name": table}) is None:
        return []
    rows = await session.execute(
        text(f"select id::text, text, meta->>'doc_hash' from {table} where meta->>'document_id' = :id"),
        {"id": document_id},
    )
    return [(node, content, content_hash) for node, content, content_hash in rows]


def _keywords(table: str | None, by_node: dict[str | None, str], names: dict[str, str]) -> list[tuple[str, str]]:
    if not table:
        return []
    entries = json.loads(table)["__data__"]["table"]
    pairs = [(keyword, node) for keyword, nodes in entries.items() for node in nodes]
    return sorted((keyword, _plain(by_node[node], names)) for keyword, node in pairs if node in by_node)


async def table_nodes(site: Site, dataset: Dataset) -> int:
    """Count the entries of a dataset's keyword table."""
    async with site.transaction() as session:
        table = await session.scalar(
            select(DatasetKeywordTable.keyword_table).where(DatasetKeywordTable.dataset_id == dataset.id)
        )
    return sum(len(nodes) for nodes in json.loads(table)["__data__"]["table"].values()) if table else 0


async def request_again(site: Site, document: Document, content: bytes, *, mark: bool = False) -> None:
    """Change a document as the platform does: its file, its row to waiting; with `mark` its segments to re_segment."""
    file_id = upload_file_id(document.data_source_type, document.data_source_info)
    async with site.transaction() as session:
        file = await session.get_one(UploadFile, file_id)
        await site.platform.storage.write(file.key, content)
        await session.execute(
            text(
                "update documents set indexing_status = 'waiting', processing_started_at = null, completed_at = null,"
                " parsing_completed_at = null, cleaning_completed_at = null, splitting_completed_at = null"
                " where id = :id"
            ),
            {"id": document.id},
        )
        if mark:
            await session.execute(
                text("update document_segments set status = 're_segment' where document_id = :id"), {"id": document.id}
            )


async def found(site: Site, dataset: Dataset, words: str) -> str:
    """Return the best passage for the words, or an empty text."""
    async with site.transaction() as session:
        best = await passages(session, site.platform, dataset.id, words, 1)
    return best[0].text if best else ""


async def indexed(site: Site, kind: Kind, dataset: Dataset, content: bytes | None = None) -> dict[str, Any]:
    """Return the snapshot of an undisturbed indexing of a content, in a separate document that is deleted."""
    document = await site.add_document(dataset, content or kind.content, name=kind.file, **kind.columns)
    await site.run(index_document, site.request(document))
    return await snapshot(site, dataset, document.id)
