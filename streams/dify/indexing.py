"""The steps of an indexing on the platform's rows. Each is a part of one short transaction.

indexing_status: waiting → parsing → splitting → indexing → completed | error. Segments are there in full once the
status is indexing, so a repeat then goes on with those that have no vector yet; before, it starts over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding import Embedder, Vector
from streams.dify.embedding_cache import cache_vectors, cached_vectors
from streams.dify.identity import node_id, segment_id, text_hash
from streams.dify.models import ChildChunk, Dataset, DatasetProcessRule, Document, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.refusals import NotBuiltYetError, RefusedError
from streams.dify.source import Source, source_of
from streams.dify.splitting import Piece, Rule, rule_for
from streams.dify.standing import Standing, Stopped, lock_standing
from streams.dify.vector_index import Entry, index_struct

GROUP = 100
"""Segments that get their vectors in one step: what a crash makes again at most."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an indexing needs to know of its document after the first step."""

    dataset_id: str
    document_id: str
    source: Source
    rule: Rule
    embedder: Embedder
    collection: str
    segments_saved: bool
    """True: a former attempt has split the document; only vectors are missing."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A segment without its vector."""

    segment_id: str
    node_id: str
    content: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class Group:
    """Segments that get their vectors in one step, and the vectors that the cache knows of their texts."""

    segments: tuple[Bare, ...]
    known: Mapping[str, Vector]
    """By text hash."""

    @property
    def unknown(self) -> dict[str, str]:
        """Texts to embed, by text hash; a text that occurs twice is there once."""
        texts = {segment.content_hash: segment.content for segment in self.segments}
        return {key: text for key, text in texts.items() if key not in self.known}


async def begin(session: AsyncSession, platform: Platform, dataset_id: str, document_id: str) -> Job:
    """Check what is asked for, and set the document to parsing unless a former attempt came as far as indexing.

    Raises Stopped where there is nothing to do, RefusedError where the document cannot be indexed.
    """
    standing = await lock_standing(session, dataset_id, document_id)
    document = standing.document
    if document.indexing_status == "completed":
        message = "the document is indexed already"
        raise Stopped(message)
    job = await _plan(session, platform, standing)
    if not job.segments_saved:
        await _remove_former(session, platform, job)
        document.indexing_status = "parsing"
        document.processing_started_at = utc_now()
        document.parsing_completed_at = document.cleaning_completed_at = document.splitting_completed_at = None
        document.completed_at = document.stopped_at = document.error = None
    return job


async def _plan(session: AsyncSession, platform: Platform, standing: Standing) -> Job:
    dataset, document = standing.dataset, standing.document
    if document.doc_form != "text_model":
        message = f"the document form {document.doc_form!r} is not built yet"
        raise NotBuiltYetError(message)
    if dataset.indexing_technique != "high_quality":
        message = f"the indexing technique {dataset.indexing_technique!r} is not built yet"
        raise NotBuiltYetError(message)
    rule_id = document.dataset_process_rule_id
    process_rule = await session.get(DatasetProcessRule, rule_id) if rule_id else None
    if process_rule is None:
        message = "the document has no process rule"
        raise RefusedError(message)
    return Job(
        dataset_id=dataset.id,
        document_id=document.id,
        source=await source_of(session, document),
        rule=rule_for(process_rule.mode),
        embedder=platform.embedder(dataset.embedding_model_provider, dataset.embedding_model),
        collection=platform.collection(dataset.id, dataset.index_struct),
        segments_saved=document.indexing_status == "indexing" and await _has_segments(session, document.id),
    )


async def _has_segments(session: AsyncSession, document_id: str) -> bool:
    return bool(await session.scalar(select(exists().where(DocumentSegment.document_id == document_id))))


async def _remove_former(session: AsyncSession, platform: Platform, job: Job) -> None:
    """What an attempt or an indexing before this one has left: vectors first, their ids are in the rows."""
    await platform.vectors.delete_document(session, job.collection, job.document_id)
    for model in (ChildChunk, DocumentSegment):
        await session.execute(
            delete(model).where(model.dataset_id == job.dataset_id, model.document_id == job.document_id)
        )


async def record_parsed(session: AsyncSession, job: Job, word_count: int) -> None:
    """The text is there: parsing → splitting. `word_count` is in characters, as on the platform."""
    document = (await lock_standing(session, job.dataset_id, job.document_id)).document
    document.indexing_status = "splitting"
    document.parsing_completed_at = utc_now()
    document.word_count = word_count


async def save_segments(session: AsyncSession, job: Job, pieces: Sequence[Piece], tokens: Sequence[int]) -> None:
    """Insert pieces as waiting segments; `tokens` are those of each piece."""
    document = (await lock_standing(session, job.dataset_id, job.document_id)).document
    now = utc_now()
    rows = [_segment_row(document, piece, count, now) for piece, count in zip(pieces, tokens, strict=True)]
    await session.execute(insert(DocumentSegment), rows)


def _segment_row(document: Document, piece: Piece, tokens: int, now: datetime) -> dict[str, object]:
    node = node_id(document.id, piece.position, piece.content_hash)
    return {
        "id": segment_id(node),
        "tenant_id": document.tenant_id,
        "dataset_id": document.dataset_id,
        "document_id": document.id,
        "position": piece.position,
        "content": piece.content,
        "word_count": len(piece.content),
        "tokens": tokens,
        "index_node_id": node,
        "index_node_hash": piece.content_hash,
        "enabled": False,
        "status": "waiting",
        "created_by": document.created_by,
        "created_at": now,
        "updated_at": now,
    }


async def record_split(session: AsyncSession, job: Job) -> None:
    """All segments are there: splitting → indexing, the segments with it."""
    document = (await lock_standing(session, job.dataset_id, job.document_id)).document
    now = utc_now()
    document.indexing_status = "indexing"
    document.cleaning_completed_at = document.splitting_completed_at = now
    await session.execute(
        update(DocumentSegment)
        .where(DocumentSegment.document_id == job.document_id)
        .values(status="indexing", indexing_at=now)
    )


async def next_group(session: AsyncSession, job: Job) -> Group:
    """The next segments without vectors, by position; none: all have theirs."""
    await lock_standing(session, job.dataset_id, job.document_id)
    found = await session.execute(
        select(DocumentSegment.id, DocumentSegment.index_node_id, DocumentSegment.position, DocumentSegment.content)
        .where(DocumentSegment.document_id == job.document_id, DocumentSegment.status != "completed")
        .order_by(DocumentSegment.position, DocumentSegment.id)
        .limit(GROUP)
    )
    segments = tuple(_bare(job, *row) for row in found)
    hashes = [segment.content_hash for segment in segments]
    return Group(segments, await cached_vectors(session, job.embedder, hashes) if segments else {})


def _bare(job: Job, row_id: str, node: str | None, position: int, content: str) -> Bare:
    content_hash = text_hash(content)
    return Bare(row_id, node or node_id(job.document_id, position, content_hash), content, content_hash)


async def write_group(
    session: AsyncSession, platform: Platform, job: Job, group: Group, made: Mapping[str, Vector]
) -> None:
    """Vectors and their segments' completion together; `made` are those that the cache did not know, by hash."""
    dataset = (await lock_standing(session, job.dataset_id, job.document_id)).dataset
    await cache_vectors(session, job.embedder, made)
    await platform.vectors.create(session, job.collection, job.embedder.dimensions)
    if not dataset.index_struct:
        await session.execute(
            update(Dataset)
            .where(Dataset.id == job.dataset_id, func.coalesce(Dataset.index_struct, "") == "")
            .values(index_struct=index_struct(platform.vectors.kind, job.collection))
        )
    vectors = {**group.known, **made}
    entries = [
        Entry(
            node_id=segment.node_id,
            content=segment.content,
            content_hash=segment.content_hash,
            document_id=job.document_id,
            dataset_id=job.dataset_id,
            vector=vectors[segment.content_hash],
        )
        for segment in group.segments
    ]
    await platform.vectors.upsert(session, job.collection, entries)
    await session.execute(
        update(DocumentSegment)
        .where(DocumentSegment.id.in_([segment.segment_id for segment in group.segments]))
        .values(status="completed", enabled=True, completed_at=utc_now(), error=None, stopped_at=None)
    )


async def complete(session: AsyncSession, job: Job) -> dict[str, int]:
    """Every segment has its vector: indexing → completed. Returns how many segments and tokens there are."""
    document = (await lock_standing(session, job.dataset_id, job.document_id)).document
    counted = await session.execute(
        select(func.count(), func.coalesce(func.sum(DocumentSegment.tokens), 0)).where(
            DocumentSegment.document_id == job.document_id
        )
    )
    segments, tokens = counted.one()
    document.indexing_status = "completed"
    document.completed_at = utc_now()
    document.tokens = tokens
    document.indexing_latency = _seconds_since(document.splitting_completed_at, document.completed_at)
    document.error = document.stopped_at = None
    return {"segments": segments, "tokens": tokens}


def _seconds_since(start: datetime | None, end: datetime) -> float:
    return (end - start).total_seconds() if start is not None else 0.0


async def record_failure(session: AsyncSession, dataset_id: str, document_id: str, error: str) -> None:
    """The indexing is given up: the document says so, unless it is completed or gone."""
    await session.execute(
        update(Document)
        .where(Document.id == document_id, Document.dataset_id == dataset_id, Document.indexing_status != "completed")
        .values(indexing_status="error", error=error, stopped_at=utc_now())
    )
