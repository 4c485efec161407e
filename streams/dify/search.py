"""Searches a dataset by vectors or keywords."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import embed_one
from streams.dify.keywords.extract import DEFAULT_KEYWORDS, KeywordRequest, keywords_of
from streams.dify.keywords.table import nodes_by_keywords
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment
from streams.dify.platform import Platform
from streams.dify.vector_collections import collection_of
from streams.dify.vector_stores.port import VectorQuery

__all__ = ["Passage", "passages"]

_OVERFETCH = 4
"""The factor by which more vectors are fetched than requested. Some of them may belong to disabled segments."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A segment that matches a question."""

    document: str
    """The document's name."""
    text: str
    score: float
    """Cosine similarity; in an economy dataset the share of the question's keywords in the segment. 1 is the best."""


async def passages(session: AsyncSession, platform: Platform, dataset_id: str, question: str, k: int) -> list[Passage]:
    """Return the k best passages of a dataset, best first.

    Only completed and enabled segments are found, in documents that are enabled and not archived. While a document is
    indexed again, its previous segments are found. A segment is returned once, with the best score of its child chunks.

    Args:
        session: reads the rows, and the vectors if they are in the same database.
        platform: the services.
        dataset_id: the dataset to search.
        question: the text to search for.
        k: the number of passages.

    Raises:
        LookupError: there is no such dataset.
    """
    dataset = await session.get(Dataset, dataset_id)
    if dataset is None:
        message = f"there is no dataset {dataset_id}"
        raise LookupError(message)
    by_keywords = dataset.indexing_technique == "economy"
    nodes = await (_by_keywords if by_keywords else _by_vectors)(session, platform, dataset, question, k * _OVERFETCH)
    segments = await _segments_of(session, dataset_id, [node for node, _ in nodes])
    rows = await session.execute(
        select(DocumentSegment.id, DocumentSegment.content, DocumentSegment.answer, Document.name)
        .join(Document, Document.id == DocumentSegment.document_id)
        .where(
            DocumentSegment.id.in_(set(segments.values())),
            DocumentSegment.status == "completed",
            DocumentSegment.enabled.is_(True),
            Document.enabled.is_(True),
            Document.archived.is_(False),
        )
    )
    shown = {segment: (name, _text(content, answer)) for segment, content, answer, name in rows}
    found: dict[str, Passage] = {}
    for node, score in nodes:
        segment = segments.get(node, "")
        if segment in shown and segment not in found:
            found[segment] = Passage(*shown[segment], score)
    return list(found.values())[:k]


async def _by_vectors(
    session: AsyncSession, platform: Platform, dataset: Dataset, question: str, k: int
) -> list[tuple[str, float]]:
    embedder = await platform.tenant_embedder(
        session, dataset.tenant_id, dataset.embedding_model_provider, dataset.embedding_model
    )
    vector = await embed_one(embedder, question, asyncio.to_thread)
    query = VectorQuery(await collection_of(session, platform, dataset), dataset.id, vector)
    return [(match.node_id, match.score) for match in await platform.vectors.search(session, query, k)]


async def _by_keywords(
    session: AsyncSession,
    platform: Platform,  # noqa: ARG001 - the signature of _by_vectors
    dataset: Dataset,
    question: str,
    k: int,
) -> list[tuple[str, float]]:
    (keywords,) = await asyncio.to_thread(keywords_of, KeywordRequest((question,), DEFAULT_KEYWORDS))
    nodes = await nodes_by_keywords(session, dataset.id, keywords, k)
    return [(node, hits / len(keywords)) for node, hits in nodes]


async def _segments_of(session: AsyncSession, dataset_id: str, node_ids: list[str]) -> dict[str, str]:
    """Return the segment of each node: the segment with this node, or the parent of the child chunk with this node."""
    own = select(DocumentSegment.index_node_id, DocumentSegment.id).where(
        DocumentSegment.dataset_id == dataset_id, DocumentSegment.index_node_id.in_(node_ids)
    )
    parents = select(ChildChunk.index_node_id, ChildChunk.segment_id).where(
        ChildChunk.dataset_id == dataset_id, ChildChunk.index_node_id.in_(node_ids)
    )
    return {node: segment for node, segment in await session.execute(union_all(own, parents)) if node is not None}


def _text(content: str, answer: str | None) -> str:
    """Return the text for a reader, in the platform's form: a question with its answer, or the content."""
    return content if answer is None else f"question:{content} answer:{answer}"
