"""Handlers for one document: index it, clean up after it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Protocol, TypeVar

from schemas import (
    DocumentDeleted,
    DocumentIndexCreated,
    DocumentIndexRequested,
    DocumentSyncRequested,
    PipelineRunRequested,
)
from streams.agents.error_mapping import mapped_errors
from streams.agents.knowledge.cleanup_steps import publish_next_step
from streams.agents.knowledge.document_loading import load
from streams.delivery import Backoff, ProcessorTimeExceededError, Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.delivery.temporary_folder import temporary_folder
from streams.dify.cleanup.steps import DeletedDocument, clean_deleted_document, existing_documents
from streams.dify.document_lock import lock_for_run
from streams.dify.embedding.local import count_tokens_locally
from streams.dify.errors import ExtractionError, RefusedError, Stopped
from streams.dify.ids import checked_id, optional_id
from streams.dify.indexing.answer_cache import answer_key, load_answers, store_answers
from streams.dify.indexing.failure import record_failure
from streams.dify.indexing.places import Places
from streams.dify.indexing.prepare import (
    PreparedImage,
    PrepareRequest,
    checked_images,
    checked_warnings,
    prepare,
    prepared_rows,
    reading_seconds,
)
from streams.dify.indexing.replace import remove_unfinished
from streams.dify.indexing.segment_rows import NewChild, NewSegment, new_rows
from streams.dify.indexing.steps import (
    Job,
    Parsed,
    begin,
    complete,
    insert_rows,
    record_no_text,
    record_parsed,
    record_split,
)
from streams.dify.pipelines.run_files import pipeline_tenant
from streams.dify.platform import Platform
from streams.dify.qa.ask import ask_all
from streams.dify.qa.chat import ChatEndpoint
from streams.dify.sources.reader import SourceContent
from streams.dify.splitting.question import question_pieces
from streams.dify.uploads.empty import is_empty_upload
from streams.dify.uploads.images import record_images, store_images
from streams.observability.error_text import owner_message
from streams.observability.logs import get_logger
from streams.storage import FileMissingError

log = get_logger(__name__)
T = TypeVar("T")

INSERT_BATCH = 1000
"""The number of segments or child chunks that one step inserts."""
IMAGE_BATCH = 20
"""The number of images that one step stores. Its transaction is open during that time."""


class OfDocument(Protocol):
    """An event of one document."""

    @property
    def document_id(self) -> str:
        """The document."""


def document_resource(event: OfDocument) -> str:
    """Return the resource that work on this document locks."""
    return f"document:{event.document_id}"


async def record_failed_document(
    event: DocumentIndexRequested | DocumentSyncRequested, work: Work, error: BaseException
) -> None:
    """Record the failure in the document's row: the status error, and the reason."""
    try:
        dataset_id = checked_id("dataset_id", event.dataset_id)
        document_id = checked_id("document_id", event.document_id)
        tenant_id = optional_id("tenant_id", event.tenant_id)
    except RefusedError:
        return  # No document or tenant has such an id.
    message = owner_message(error)
    if await record_failure(work.session, dataset_id, document_id, tenant_id, message):
        await work.use(Platform).keys.indexing_ended(document_id)


@handles(
    DocumentIndexRequested,
    kind="long",
    resource=document_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="30m",
    time_limit="35m",
    needs=("embeddings", "storage"),
    on_dead=record_failed_document,
)
async def index_document(event: DocumentIndexRequested, work: Work) -> JSON:
    """Index a document: create its segments and vectors.

    Every step locks the rows of dataset and document. If one is deleted, the work stops successfully: the deletion
    wins.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            dataset_id = checked_id("dataset_id", event.dataset_id)
            document_id = checked_id("document_id", event.document_id)
            tenant_id = optional_id("tenant_id", event.tenant_id)
            async with work.step() as session:
                job = await begin(session, platform, dataset_id, document_id, tenant_id)
            places = Places()
            if not job.segments_saved:
                await _delete_unfinished(job, work, platform)
                await _split(job, work, platform, places)
            await load(job, work, platform, places)
            async with work.step(final=True) as session:
                done = await complete(session, job)
            await platform.keys.indexing_ended(document_id)
            return dict(done)
    except Stopped as stopped:
        return {"skipped": str(stopped)}


async def _delete_unfinished(job: Job, work: Work, platform: Platform) -> None:
    """Delete the rows of an indexing that never ended, before new rows are added."""
    more = job.unfinished
    while more:
        async with work.step() as session:
            more = await remove_unfinished(session, platform, job)


async def _split(job: Job, work: Work, platform: Platform, places: Places) -> None:
    with temporary_folder() as folder:
        read = await _read(job, work, platform)
        if is_empty_upload(job.source, read):
            async with work.step() as session:
                await record_no_text(session, job)
            return
        count_tokens = job.embedder is not None
        request = PrepareRequest(
            folder, read.extension, job.run.document_id, job.form, job.rules, count_tokens, platform.files_url
        )
        await asyncio.to_thread(request.source.write_bytes, read.content)
        edited, limit = read.edited, reading_seconds(len(read.content))
        del read  # Frees the memory: the content may be large, and it is in the folder now.
        try:
            prepared = await work.compute_within(limit, prepare, request)
        except ProcessorTimeExceededError as error:
            message = (
                f"the file needs more than {limit:.0f} s of processor time to be read; split it into several files"
            )
            raise ExtractionError(message) from error
        await _store_images(request, checked_images(prepared), job, work, platform)
        warnings = checked_warnings(prepared)
        work.warn(warnings)
        for warning in warnings:
            log.warning("a part of the document's file is not in its text", warning=warning)
        parsed = Parsed(prepared.characters, edited)
        if platform.chat is not None and job.form == "qa_model":
            async with work.step() as session:
                await record_parsed(session, job, parsed)
            await _save(places.noting(await _questions(request, platform.chat, job, work)), job, work)
        else:
            await _save(places.noting(prepared_rows(request)), job, work, parsed)


async def _read(job: Job, work: Work, platform: Platform) -> SourceContent:
    try:
        return await platform.sources.read(job.source)
    except FileMissingError:
        # If the document was deleted, its file was deleted with it, which is no failure.
        async with work.step() as session:
            await lock_for_run(session, job.run)
        raise


async def _save(rows: Iterator[NewSegment | NewChild], job: Job, work: Work, parsed: Parsed | None = None) -> None:
    """Insert rows in groups, one per step.

    The first step also records that the text was extracted, the last one that it was split.
    """
    batch = list(islice(rows, INSERT_BATCH))
    if not batch:
        message = "the file contains nothing but punctuation"
        raise ExtractionError(message)
    while batch:
        next_batch = list(islice(rows, INSERT_BATCH))
        async with work.step() as session:
            if parsed is not None:
                await record_parsed(session, job, parsed)
            await insert_rows(session, job, batch)
            if not next_batch:
                await record_split(session, job)
        batch, parsed = next_batch, None


async def _questions(
    request: PrepareRequest, chat: ChatEndpoint, job: Job, work: Work
) -> Iterator[NewSegment | NewChild]:
    """Generate questions and answers for the chunks.

    Each answer is stored at once, so a retry requests only the missing ones.
    """
    segments = [row for row in prepared_rows(request) if isinstance(row, NewSegment)]
    chunks = [segment.content for segment in segments]
    keys = [answer_key(chat.model, job.language, chunk) for chunk in chunks]
    async with work.step() as session:
        known = await load_answers(session, job.run)
    missing = {key: chunk for key, chunk in zip(keys, chunks, strict=True) if key not in known}
    async with chat.open() as asker, aclosing(ask_all(asker, missing, job.language)) as coming:
        async for answers in coming:
            async with work.step() as session:
                await store_answers(session, job.run, answers)
            known.update(answers)
    pieces = question_pieces((known[key], segment.place) for key, segment in zip(keys, segments, strict=True))
    if job.embedder is None:
        return new_rows(pieces, [0] * len(pieces))
    return new_rows(pieces, await work.compute(count_tokens_locally, [piece.content for piece in pieces]))


async def _store_images(
    request: PrepareRequest, images: Sequence[PreparedImage], job: Job, work: Work, platform: Platform
) -> None:
    for batch in _in_groups(images, IMAGE_BATCH):
        async with work.step() as session:
            await record_images(session, job.run, batch)
        async with work.step() as session:
            await store_images(session, platform.storage, job.run, batch, request)


def _in_groups(items: Sequence[T], size: int = INSERT_BATCH) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@handles(DocumentIndexCreated)
async def request_document_indexing(event: DocumentIndexCreated, work: Work) -> JSON:
    """Publish one request per document, so that documents fail independently.

    The platform runs its pipelines itself. So documents of a pipeline become one request to it, if its address is set.
    """
    document_ids = list(dict.fromkeys(event.document_ids))
    owner = await pipeline_tenant(work.session, event.dataset_id) if work.use(Platform).pipelines is not None else None
    if owner is not None:
        await work.publish(
            PipelineRunRequested(
                tenant_id=event.tenant_id or owner,
                dataset_id=event.dataset_id,
                document_ids=document_ids,
                priority=True,
            )
        )
        return {"pipeline": len(document_ids)}
    for document_id in document_ids:
        await work.publish(
            DocumentIndexRequested(tenant_id=event.tenant_id, dataset_id=event.dataset_id, document_id=document_id)
        )
    return {"requested": len(document_ids)}


@handles(DocumentDeleted)
async def clean_document(event: DocumentDeleted, work: Work) -> JSON:
    """Delete everything that a deleted document has left, in bounded steps. Each step publishes the next one."""
    with mapped_errors():
        deleted = DeletedDocument(
            dataset_id=checked_id("dataset_id", event.dataset_id),
            document_id=checked_id("document_id", event.document_id),
            tenant_id=optional_id("tenant_id", event.tenant_id),
            file_id=optional_id("file_id", event.file_id),
        )
        if await existing_documents(work.session, [deleted.document_id]):
            message = f"document {deleted.document_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        platform = work.use(Platform)
        step = await clean_deleted_document(work.session, platform, deleted)
    return await publish_next_step(event, work, step)


HANDLERS = (index_document, request_document_indexing, clean_document)
