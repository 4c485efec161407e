"""The steps of an indexing on the platform's rows. Each is a part of one short transaction.

indexing_status: waiting → parsing → splitting → indexing → completed | error. Segments are there in full once the
status is indexing, so a repeat then goes on with those that have no vector yet; before, it starts over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.answers import forget_answers
from streams.dify.binding import collection_of
from streams.dify.embedding import Embedder
from streams.dify.forms import Form, form_of
from streams.dify.forms.piece import Piece
from streams.dify.keyword_table import take_document
from streams.dify.keywords import KEYWORDS
from streams.dify.models import ChildChunk, DatasetProcessRule, Document, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.refusals import NotBuiltYetError, RefusedError
from streams.dify.rules import Rules, rules_of
from streams.dify.segment_rows import child_row, segment_row
from streams.dify.source import Source, source_of
from streams.dify.standing import Standing, Stopped, lock_standing


@dataclass(frozen=True, slots=True)
class Job:
    """What an indexing needs to know of its document after the first step."""

    dataset_id: str
    document_id: str
    source: Source
    form: Form
    rules: Rules
    language: str
    """In which questions are asked about it, where its form does that."""
    embedder: Embedder | None
    """None: the dataset is an economy one, whose segments are found by keywords and have no vectors."""
    keyword_number: int
    """Keywords of a segment, in an economy dataset."""
    collection: str
    segments_saved: bool
    """True: a former attempt has split the document; only vectors or keywords are missing."""


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
    form = form_of(document.doc_form)
    if form == "qa_model" and platform.chat is None:
        message = f"the document form {form!r} needs a chat model: set STREAMS_CHAT_URL and STREAMS_CHAT_MODEL"
        raise RefusedError(message)
    if dataset.indexing_technique not in {"high_quality", "economy"}:
        message = f"the indexing technique {dataset.indexing_technique!r} is not built yet"
        raise NotBuiltYetError(message)
    by_vectors = dataset.indexing_technique == "high_quality"
    rule_id = document.dataset_process_rule_id
    process_rule = await session.get(DatasetProcessRule, rule_id) if rule_id else None
    if process_rule is None:
        message = "the document has no process rule"
        raise RefusedError(message)
    return Job(
        dataset_id=dataset.id,
        document_id=document.id,
        source=await source_of(session, document),
        form=form,
        rules=rules_of(process_rule.mode, process_rule.rules),
        language=document.doc_language or "English",
        embedder=platform.embedder(dataset.embedding_model_provider, dataset.embedding_model) if by_vectors else None,
        keyword_number=dataset.keyword_number or KEYWORDS,
        collection=await collection_of(session, platform, dataset),
        segments_saved=document.indexing_status == "indexing" and await _has_segments(session, document.id),
    )


async def _has_segments(session: AsyncSession, document_id: str) -> bool:
    return bool(await session.scalar(select(exists().where(DocumentSegment.document_id == document_id))))


async def _remove_former(session: AsyncSession, platform: Platform, job: Job) -> None:
    """What an attempt or an indexing before this one has left; the rows go last, they know the ids of the rest."""
    await platform.vectors.delete_document(session, job.collection, job.document_id)
    await take_document(session, job.dataset_id, job.document_id)
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
    rows = [segment_row(document, piece, count, now) for piece, count in zip(pieces, tokens, strict=True)]
    await session.execute(insert(DocumentSegment), rows)


async def save_children(session: AsyncSession, job: Job, children: Sequence[tuple[Piece, Piece]]) -> None:
    """Insert child chunks, each behind its parent, whose segment is there already."""
    document = (await lock_standing(session, job.dataset_id, job.document_id)).document
    now = utc_now()
    await session.execute(insert(ChildChunk), [child_row(document, parent, child, now) for parent, child in children])


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
    await session.execute(
        update(ChildChunk)
        .where(ChildChunk.dataset_id == job.dataset_id, ChildChunk.document_id == job.document_id)
        .values(indexing_at=now)
    )
    await forget_answers(session, job.document_id)


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
