"""Questions answered from a dataset's vectors."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import Dataset, Document, DocumentSegment
from streams.dify.platform import Platform

_SPARE = 4
"""Times as many vectors are looked at as passages are wanted: some may belong to what is disabled."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A segment that fits a question."""

    document: str
    """The document's name."""
    text: str
    score: float
    """Cosine similarity, 1 is the best."""


async def passages(session: AsyncSession, platform: Platform, dataset_id: str, question: str, k: int) -> list[Passage]:
    """The k best passages of a dataset, best first; only of what is completed, enabled and not archived.

    Raises LookupError where there is no such dataset.
    """
    dataset = await session.get(Dataset, dataset_id)
    if dataset is None:
        message = f"there is no dataset {dataset_id}"
        raise LookupError(message)
    embedder = platform.embedder(dataset.embedding_model_provider, dataset.embedding_model)
    (vector,) = await embedder.embed([question], asyncio.to_thread)
    collection = platform.collection(dataset_id, dataset.index_struct)
    matches = await platform.vectors.search(session, collection, vector, k * _SPARE)
    rows = await session.execute(
        select(DocumentSegment.index_node_id, DocumentSegment.content, Document.name)
        .join(Document, Document.id == DocumentSegment.document_id)
        .where(
            DocumentSegment.dataset_id == dataset_id,
            DocumentSegment.index_node_id.in_([match.node_id for match in matches]),
            DocumentSegment.status == "completed",
            DocumentSegment.enabled.is_(True),
            Document.indexing_status == "completed",
            Document.enabled.is_(True),
            Document.archived.is_(False),
        )
    )
    shown = {node: (name, content) for node, content, name in rows}
    found = [Passage(*shown[match.node_id], match.score) for match in matches if match.node_id in shown]
    return found[:k]
