"""The steps that index a document, each a short transaction that holds the rows it works for.

A step may be repeated after a crash: `begin` tells from the rows how far a former attempt came, and ids are made of the
document, the start of the indexing and the content, so that a repeat meets its own rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, LockedDocument, hold, lock_standing
from streams.dify.embedding.port import Embedder
from streams.dify.errors import EmbeddingError, NotBuiltYetError, RefusedError, Stopped
from streams.dify.extraction import WITH_IMAGES
from streams.dify.indexing.answer_cache import forget_answers
from streams.dify.indexing.pending_rows import bare_segments, complete_parents
from streams.dify.indexing.segment_rows import NewChild, NewSegment, child_row, segment_row
from streams.dify.keywords.extract import KEYWORDS
from streams.dify.models import ChildChunk, DatasetProcessRule, Document, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.sources.reference import Source, StoredFile, source_of, with_last_edited_time
from streams.dify.splitting.forms import Form, form_of
from streams.dify.splitting.rules import Rules, rules_of
from streams.dify.vector_collections import collection_of

_NAMED = 3
"""Failed segments that an error names."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an indexing needs to know of its document after the first step."""

    generation: IndexingRun
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
    replaces: bool
    """True: there are segments of an indexing before this one, which stay until the new ones can be found."""
    unfinished: bool
    """True: there are segments of an indexing that never ended, or that were hidden and not removed yet."""

    @property
    def may_leave_former(self) -> bool:
        """Whether there may be former segments, or images that an attempt has stored before it had any segment."""
        has_images = isinstance(self.source, StoredFile) and self.source.kind in WITH_IMAGES
        return self.replaces or self.unfinished or has_images


class Parsed(NamedTuple):
    """What is known of a document's text once it is there."""

    characters: int
    edited: str | None
    """Its source's time of change where there is one, which a later look at the source is compared with."""


async def begin(session: AsyncSession, platform: Platform, dataset_id: str, document_id: str) -> Job:
    """Check what is asked for, and begin anew with the status parsing unless a former attempt came as far as indexing.

    Raises Stopped where there is nothing to do, RefusedError where the document cannot be indexed.
    """
    standing = await lock_standing(session, dataset_id, document_id, to_change=True)
    document = standing.document
    if document.indexing_status == "completed":
        message = "the document is indexed already"
        raise Stopped(message)
    former = await _former_attempt(session, document)
    job = await _plan(session, platform, standing, former)
    if former is None:
        document.indexing_status = "parsing"
        document.processing_started_at = job.generation.started_at
        document.parsing_completed_at = document.cleaning_completed_at = document.splitting_completed_at = None
        await _keep_findable(session, platform, job)
    else:
        document.indexing_status = "indexing"
    document.completed_at = document.stopped_at = document.error = None
    return job


async def _former_attempt(session: AsyncSession, document: Document) -> IndexingRun | None:
    """The indexing that this attempt goes on with: one whose segments are all there."""
    if document.indexing_status not in {"indexing", "error"} or document.splitting_completed_at is None:
        return None
    if document.processing_started_at is None:
        return None
    generation = _generation(document, document.processing_started_at)
    return generation if await session.scalar(select(exists().where(generation.segments))) else None


def _generation(document: Document, started_at: datetime) -> IndexingRun:
    return IndexingRun(document.tenant_id, document.dataset_id, document.id, started_at)


async def _plan(session: AsyncSession, platform: Platform, standing: LockedDocument, former: IndexingRun | None) -> Job:
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
    generation = former or _generation(document, utc_now())
    left = unfinished(generation)
    replaces, leftovers = (
        await session.execute(
            select(
                exists().where(generation.former_segments & ~left),
                exists().where(left),
            )
        )
    ).one()
    return Job(
        generation=generation,
        source=await source_of(session, document),
        form=form,
        rules=rules_of(process_rule.mode, process_rule.rules),
        language=document.doc_language or "English",
        embedder=platform.embedder(dataset.embedding_model_provider, dataset.embedding_model) if by_vectors else None,
        keyword_number=dataset.keyword_number or KEYWORDS,
        collection=await collection_of(session, platform, dataset),
        segments_saved=former is not None,
        replaces=replaces,
        unfinished=leftovers,
    )


def unfinished(generation: IndexingRun) -> ColumnElement[bool]:
    """Former segments that were never enabled, or are hidden already; what a person has disabled is none of them."""
    return generation.former_segments & ~DocumentSegment.enabled & DocumentSegment.disabled_at.is_(None)


async def _keep_findable(session: AsyncSession, platform: Platform, job: Job) -> None:
    """The platform marks segments that are to be made anew, and then does not find them: here they are found on."""
    if job.replaces:
        await session.execute(
            update(DocumentSegment)
            .where(
                job.generation.former_segments,
                DocumentSegment.status == "re_segment",
                DocumentSegment.enabled,
                DocumentSegment.completed_at.is_not(None),
            )
            .values(status="completed")
        )
    elif not job.unfinished:
        # Vectors that a clean-up of the platform has forgotten: no segment knows their ids.
        await platform.vectors.delete_document(session, job.collection, job.generation.document_id)


async def record_parsed(session: AsyncSession, job: Job, parsed: Parsed) -> None:
    """The text is there: parsing → splitting. Its word_count is in characters, as on the platform."""
    document = (await hold(session, job.generation, to_change=True)).document
    document.indexing_status = "splitting"
    document.parsing_completed_at = utc_now()
    document.word_count = parsed.characters
    if parsed.edited is not None:
        document.data_source_info = with_last_edited_time(document.data_source_info, parsed.edited)


async def save(session: AsyncSession, job: Job, new: Sequence[NewSegment | NewChild]) -> None:
    """Insert waiting segments and child chunks; a child's segment is among them, or there already."""
    document = (await hold(session, job.generation)).document
    segments = [segment_row(document, job.generation, one) for one in new if isinstance(one, NewSegment)]
    children = [child_row(document, job.generation, one) for one in new if isinstance(one, NewChild)]
    if segments:
        await session.execute(insert(DocumentSegment), segments)
    if children:
        await session.execute(insert(ChildChunk), children)


async def record_split(session: AsyncSession, job: Job) -> None:
    """All segments are there: splitting → indexing, the segments with it."""
    generation = job.generation
    document = (await hold(session, generation, to_change=True)).document
    now = utc_now()
    document.indexing_status = "indexing"
    document.cleaning_completed_at = document.splitting_completed_at = now
    await session.execute(update(DocumentSegment).where(generation.segments).values(status="indexing", indexing_at=now))
    if job.form == "hierarchical_model":
        await session.execute(update(ChildChunk).where(generation.children).values(indexing_at=now))
    await forget_answers(session, generation.document_id)


async def check_loaded(session: AsyncSession, job: Job) -> None:
    """Raise EmbeddingError, naming them, where segments have no vector or keywords; in a step that holds the rows."""
    if job.form == "hierarchical_model":
        await complete_parents(session, job.generation, enabled=not job.replaces)
    message = await bare_message(session, job)
    if message is not None:
        raise EmbeddingError(message)


async def bare_message(session: AsyncSession, job: Job) -> str | None:
    """Which segments have no vector, and why; None: all have theirs."""
    count, bare = await bare_segments(session, job.generation, _NAMED)
    if not count:
        return None
    named = "; ".join(f"segment {position}: {error}" for position, error in bare)
    more = f"; and {count - len(bare)} more" if count > len(bare) else ""
    return f"{count} of the document's segments got no vector: {named}{more}"


async def complete(session: AsyncSession, job: Job) -> dict[str, int]:
    """Every segment can be found: indexing → completed. Returns how many segments and tokens there are.

    Raises EmbeddingError, naming them, where segments have no vector, and Stopped.
    """
    document = (await hold(session, job.generation, to_change=True)).document
    await check_loaded(session, job)
    counted = await session.execute(
        select(func.count(), func.coalesce(func.sum(DocumentSegment.tokens), 0)).where(job.generation.segments)
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
