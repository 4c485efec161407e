"""The steps that index a document. Each is a short transaction that locks the rows of the document.

A step may be repeated after a crash. `begin` finds out from the rows how far the previous attempt came. Ids depend on
the document, the start of the indexing and the content only, so a repeated step finds its own rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, LockedDocument, lock_document, lock_for_run
from streams.dify.embedding.port import Embedder
from streams.dify.errors import EmbeddingError, NotBuiltYetError, RefusedError, Stopped
from streams.dify.extraction import IMAGE_EXTENSIONS
from streams.dify.indexing.answer_cache import delete_answers
from streams.dify.indexing.pending_rows import complete_parents, pending_segments
from streams.dify.indexing.segment_rows import NewChild, NewSegment, child_row, segment_row
from streams.dify.keywords.extract import DEFAULT_KEYWORDS
from streams.dify.models import ChildChunk, DatasetProcessRule, Document, DocumentSegment, utc_now
from streams.dify.platform import Platform
from streams.dify.sources.reference import Source, StoredFile, source_of, with_last_edited_time
from streams.dify.splitting.forms import Form, form_of
from streams.dify.splitting.rules import Rules, rules_of
from streams.dify.vector_collections import collection_of

_LISTED = 3
"""The number of failed segments that an error message lists."""


@dataclass(frozen=True, slots=True)
class Job:
    """The facts about a document that the steps after `begin` need."""

    run: IndexingRun
    source: Source
    form: Form
    rules: Rules
    language: str
    """The language of generated questions, for forms that have them."""
    embedder: Embedder | None
    """None: an economy dataset. Its segments are found by keywords and have no vectors."""
    keyword_number: int
    """The number of keywords per segment, in an economy dataset."""
    collection: str
    segments_saved: bool
    """True: a previous attempt has split the document. Only vectors or keywords are missing."""
    replaces: bool
    """True: segments of a previous indexing exist. They stay until the new ones are searchable."""
    unfinished: bool
    """True: segments exist of an indexing that never ended, or segments that are hidden and not deleted yet."""

    @property
    def may_have_previous(self) -> bool:
        """Whether previous segments may exist, or images of an attempt that stored them before its first segment."""
        has_images = isinstance(self.source, StoredFile) and self.source.kind in IMAGE_EXTENSIONS
        return self.replaces or self.unfinished or has_images


class Parsed(NamedTuple):
    """The facts about the text of a document after it was extracted."""

    characters: int
    edited: str | None
    """The edit time of the source, if it has one. A later synchronisation compares it with the source."""


async def begin(
    session: AsyncSession, platform: Platform, dataset_id: str, document_id: str, tenant_id: str | None
) -> Job:
    """Check the request and start the indexing.

    The status becomes parsing, or indexing if a previous attempt came that far and can be continued.

    Args:
        session: the transaction of the step.
        platform: the services.
        dataset_id: the dataset of the document.
        document_id: the document.
        tenant_id: the tenant that the request names; None: it names none.

    Raises:
        Stopped: there is nothing to do.
        RefusedError: the document cannot be indexed, or is not the tenant's.
    """
    locked = await lock_document(session, dataset_id, document_id, tenant_id, for_update=True)
    document = locked.document
    if document.indexing_status == "completed":
        message = "the document is indexed already"
        raise Stopped(message)
    previous = await _previous_attempt(session, document)
    job = await _plan(session, platform, locked, previous)
    if previous is None:
        document.indexing_status = "parsing"
        document.processing_started_at = job.run.started_at
        document.parsing_completed_at = document.cleaning_completed_at = document.splitting_completed_at = None
        await _keep_searchable(session, platform, job)
    else:
        document.indexing_status = "indexing"
    document.completed_at = document.stopped_at = document.error = None
    return job


async def _previous_attempt(session: AsyncSession, document: Document) -> IndexingRun | None:
    """Return the run that this attempt continues: all of its segments exist. None: a new run has to start."""
    if document.indexing_status not in {"indexing", "error"} or document.splitting_completed_at is None:
        return None
    if document.processing_started_at is None:
        return None
    run = _indexing_run(document, document.processing_started_at)
    return run if await session.scalar(select(exists().where(run.segments))) else None


def _indexing_run(document: Document, started_at: datetime) -> IndexingRun:
    return IndexingRun(document.tenant_id, document.dataset_id, document.id, started_at)


async def _plan(session: AsyncSession, platform: Platform, locked: LockedDocument, previous: IndexingRun | None) -> Job:
    dataset, document = locked.dataset, locked.document
    form = form_of(document.doc_form)
    if form == "qa_model" and platform.chat is None:
        message = f"the document form {form!r} needs a chat model: set STREAMS_CHAT_URL and STREAMS_CHAT_MODEL"
        raise RefusedError(message)
    if dataset.indexing_technique not in {"high_quality", "economy"}:
        message = f"the indexing technique {dataset.indexing_technique!r} is not supported yet"
        raise NotBuiltYetError(message)
    by_vectors = dataset.indexing_technique == "high_quality"
    rule_id = document.dataset_process_rule_id
    process_rule = await session.get(DatasetProcessRule, rule_id) if rule_id else None
    if process_rule is None or process_rule.dataset_id != dataset.id:
        message = "the document has no process rule of its dataset"
        raise RefusedError(message)
    run = previous or _indexing_run(document, utc_now())
    hidden = unfinished(run)
    replaces, leftovers = (
        await session.execute(
            select(
                exists().where(run.previous_segments & ~hidden),
                exists().where(hidden),
            )
        )
    ).one()
    return Job(
        run=run,
        source=await source_of(session, document),
        form=form,
        rules=rules_of(process_rule.mode, process_rule.rules, platform.largest_piece),
        language=document.doc_language or "English",
        embedder=await platform.tenant_embedder(
            session, dataset.tenant_id, dataset.embedding_model_provider, dataset.embedding_model
        )
        if by_vectors
        else None,
        keyword_number=dataset.keyword_number or DEFAULT_KEYWORDS,
        collection=await collection_of(session, platform, dataset),
        segments_saved=previous is not None,
        replaces=replaces,
        unfinished=leftovers,
    )


def unfinished(run: IndexingRun) -> ColumnElement[bool]:
    """Return a condition for previous segments that were never enabled or are hidden already.

    It excludes segments that a user has disabled.
    """
    return run.previous_segments & ~DocumentSegment.enabled & DocumentSegment.disabled_at.is_(None)


async def _keep_searchable(session: AsyncSession, platform: Platform, job: Job) -> None:
    """Keep the previous segments searchable. The platform marks them and then does not find them."""
    if job.replaces:
        await session.execute(
            update(DocumentSegment)
            .where(
                job.run.previous_segments,
                DocumentSegment.status == "re_segment",
                DocumentSegment.enabled,
                DocumentSegment.completed_at.is_not(None),
            )
            .values(status="completed")
        )
    elif not job.unfinished:
        # Delete vectors that a clean-up of the platform left: no segment contains their ids.
        owner = (job.run.dataset_id, job.run.document_id)
        await platform.vectors.delete_document(session, job.collection, *owner)


async def record_parsed(session: AsyncSession, job: Job, parsed: Parsed) -> None:
    """Record that the text was extracted: parsing → splitting. word_count is in characters, as on the platform."""
    document = (await lock_for_run(session, job.run, for_update=True)).document
    document.indexing_status = "splitting"
    document.parsing_completed_at = utc_now()
    document.word_count = parsed.characters
    if parsed.edited is not None:
        document.data_source_info = with_last_edited_time(document.data_source_info, parsed.edited)


async def insert_rows(session: AsyncSession, job: Job, new: Sequence[NewSegment | NewChild]) -> None:
    """Insert waiting segments and child chunks. A child's segment is in `new` or exists already. Raises Stopped."""
    document = (await lock_for_run(session, job.run)).document
    segments = [segment_row(document, job.run, one) for one in new if isinstance(one, NewSegment)]
    children = [child_row(document, job.run, one) for one in new if isinstance(one, NewChild)]
    if segments:
        await session.execute(insert(DocumentSegment), segments)
    if children:
        await session.execute(insert(ChildChunk), children)


async def record_split(session: AsyncSession, job: Job) -> None:
    """Record that all segments exist: document and segments get the status indexing. Raises Stopped."""
    run = job.run
    document = (await lock_for_run(session, run, for_update=True)).document
    now = utc_now()
    document.indexing_status = "indexing"
    document.cleaning_completed_at = document.splitting_completed_at = now
    await session.execute(update(DocumentSegment).where(run.segments).values(status="indexing", indexing_at=now))
    if job.form == "hierarchical_model":
        await session.execute(update(ChildChunk).where(run.children).values(indexing_at=now))
    await delete_answers(session, run.document_id)


async def record_no_text(session: AsyncSession, job: Job) -> None:
    """Record that the document has no text and no segments: parsing → indexing. Raises Stopped."""
    await record_parsed(session, job, Parsed(0, None))
    await record_split(session, job)


async def check_loaded(session: AsyncSession, job: Job) -> None:
    """Raise EmbeddingError that names the segments without a vector or keywords. The caller holds the locks."""
    if job.form == "hierarchical_model":
        await complete_parents(session, job.run, enabled=not job.replaces)
    message = await missing_vectors_message(session, job.run)
    if message is not None:
        raise EmbeddingError(message)


async def missing_vectors_message(session: AsyncSession, run: IndexingRun) -> str | None:
    """Return a message that names the segments without a vector and the reasons; None: all have one."""
    count, listed = await pending_segments(session, run, _LISTED)
    if not count:
        return None
    named = "; ".join(f"segment {position}: {error}" for position, error in listed)
    more = f"; and {count - len(listed)} more" if count > len(listed) else ""
    return f"{count} of the document's segments got no vector: {named}{more}"


async def complete(session: AsyncSession, job: Job) -> dict[str, int]:
    """Complete the document: indexing → completed. Returns the number of segments and tokens.

    Raises EmbeddingError that names the segments without a vector, and Stopped.
    """
    document = (await lock_for_run(session, job.run, for_update=True)).document
    await check_loaded(session, job)
    counted = await session.execute(
        select(func.count(), func.coalesce(func.sum(DocumentSegment.tokens), 0)).where(job.run.segments)
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
