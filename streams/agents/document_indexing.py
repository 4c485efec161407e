"""Documents: index them, clean up after them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from schemas import DocumentDeleted, DocumentIndexCreated, DocumentIndexRequested, DocumentSyncRequested
from streams.agents.cleanup_steps import go_on
from streams.agents.document_loading import load
from streams.agents.error_mapping import refusals_told
from streams.delivery import Backoff, Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.cleanup.steps import DeletedDocument, clean_deleted_document, standing_documents
from streams.dify.document_lock import hold
from streams.dify.embedding.local import count_tokens_locally
from streams.dify.errors import ExtractionError, RefusedError, Stopped
from streams.dify.extraction import Image
from streams.dify.ids import checked_id
from streams.dify.indexing.answer_cache import answer_key, keep_answers, kept_answers
from streams.dify.indexing.prepare import Order, prepare, prepared_rows
from streams.dify.indexing.replace import remove_unfinished
from streams.dify.indexing.segment_rows import NewChild, NewSegment, new_rows
from streams.dify.indexing.steps import (
    Job,
    Parsed,
    begin,
    complete,
    record_failure,
    record_parsed,
    record_split,
    save,
)
from streams.dify.platform import Platform
from streams.dify.qa.ask import ask_all
from streams.dify.qa.chat import ChatEndpoint
from streams.dify.sources.reader import Read
from streams.dify.splitting.question import question_pieces
from streams.dify.uploads.images import record_images, store_images
from streams.storage import FileMissingError

T = TypeVar("T")

INSERTED_AT_ONCE = 1000
"""Segments or child chunks that one step inserts."""
IMAGES_AT_ONCE = 20
"""Images that one step stores: its transaction is open meanwhile."""


def name_resource(event: DocumentIndexRequested | DocumentSyncRequested) -> str:
    """What the work on a document holds alone."""
    return f"document:{event.document_id}"


async def record_death(event: DocumentIndexRequested | DocumentSyncRequested, work: Work, error: BaseException) -> None:
    """The document shows why it was given up: the status error, and the reason."""
    try:
        dataset_id = checked_id("dataset_id", event.dataset_id)
        document_id = checked_id("document_id", event.document_id)
    except RefusedError:
        return  # No row has such an id.
    await record_failure(work.session, dataset_id, document_id, str(error) or type(error).__name__)
    await work.use(Platform).flags.indexing_ended(document_id)


@handles(
    DocumentIndexRequested,
    kind="long",
    resource=name_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="30m",
    time_limit="35m",
    needs=("embeddings", "storage"),
    on_dead=record_death,
)
async def index_document(event: DocumentIndexRequested, work: Work) -> JSON:
    """A document becomes segments and vectors.

    Every step holds the rows of dataset and document; once one is gone it stops, and that is success: delete wins.
    """
    platform = work.use(Platform)
    try:
        with refusals_told():
            dataset_id = checked_id("dataset_id", event.dataset_id)
            document_id = checked_id("document_id", event.document_id)
            async with work.step() as session:
                job = await begin(session, platform, dataset_id, document_id)
            if not job.segments_saved:
                await _tidy(job, work, platform)
                await _split(job, work, platform)
            await load(job, work, platform)
            async with work.step(final=True) as session:
                done = await complete(session, job)
            await platform.flags.indexing_ended(document_id)
            return dict(done)
    except Stopped as stopped:
        return {"skipped": str(stopped)}


async def _tidy(job: Job, work: Work, platform: Platform) -> None:
    """What an indexing that never ended has left goes before there is more of it."""
    more = job.unfinished
    while more:
        async with work.step() as session:
            more = await remove_unfinished(session, platform, job)


async def _split(job: Job, work: Work, platform: Platform) -> None:
    with TemporaryDirectory(prefix="streams-") as folder:
        read = await _read(job, work, platform)
        counted = job.embedder is not None
        order = Order(Path(folder), read.extension, job.generation.document_id, job.form, job.rules, counted)
        await asyncio.to_thread(order.source.write_bytes, read.content)
        edited = read.edited
        del read  # It may be large, and lies in the folder now.
        prepared = await work.compute(prepare, order)
        await _store_images(prepared.images, job, work, platform)
        parsed = Parsed(prepared.characters, edited)
        if platform.chat is not None and job.form == "qa_model":
            async with work.step() as session:
                await record_parsed(session, job, parsed)
            await _save(await _questions(order, platform.chat, job, work), job, work)
        else:
            await _save(prepared_rows(order), job, work, parsed)


async def _read(job: Job, work: Work, platform: Platform) -> Read:
    try:
        return await platform.reading.read(job.source)
    except FileMissingError:
        # The file of a document that was deleted meanwhile has gone with it: that is no failure.
        async with work.step() as session:
            await hold(session, job.generation)
        raise


async def _save(rows: Iterator[NewSegment | NewChild], job: Job, work: Work, parsed: Parsed | None = None) -> None:
    """In groups, each a step; with the first it is told that the text is there, with the last that it is split."""
    some = list(islice(rows, INSERTED_AT_ONCE))
    if not some:
        message = "the file holds nothing but punctuation"
        raise ExtractionError(message)
    while some:
        following = list(islice(rows, INSERTED_AT_ONCE))
        async with work.step() as session:
            if parsed is not None:
                await record_parsed(session, job, parsed)
            await save(session, job, some)
            if not following:
                await record_split(session, job)
        some, parsed = following, None


async def _questions(order: Order, chat: ChatEndpoint, job: Job, work: Work) -> Iterator[NewSegment | NewChild]:
    """Questions and answers in place of the chunks. What is answered is kept at once: a retry asks for the rest."""
    chunks = [chunk.content for chunk in prepared_rows(order)]
    keys = [answer_key(chat.model, job.language, chunk) for chunk in chunks]
    async with work.step() as session:
        known = await kept_answers(session, job.generation)
    missing = {key: chunk for key, chunk in zip(keys, chunks, strict=True) if key not in known}
    async with chat.open() as asker, aclosing(ask_all(asker, missing, job.language)) as coming:
        async for answers in coming:
            async with work.step() as session:
                await keep_answers(session, job.generation, answers)
            known.update(answers)
    pieces = question_pieces(pair for key in keys for pair in known[key])
    if job.embedder is None:
        return new_rows(pieces, [0] * len(pieces))
    return new_rows(pieces, await work.compute(count_tokens_locally, [piece.content for piece in pieces]))


async def _store_images(images: Sequence[Image], job: Job, work: Work, platform: Platform) -> None:
    for some in _in_groups(images, IMAGES_AT_ONCE):
        async with work.step() as session:
            await record_images(session, job.generation, some)
        async with work.step() as session:
            await store_images(session, platform.storage, job.generation, some)


def _in_groups(items: Sequence[T], size: int = INSERTED_AT_ONCE) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@handles(DocumentIndexCreated)
async def request_document_indexing(event: DocumentIndexCreated, work: Work) -> JSON:
    """One request a document, so that one document's trouble is its own."""
    document_ids = list(dict.fromkeys(event.document_ids))
    for document_id in document_ids:
        await work.publish(
            DocumentIndexRequested(tenant_id=event.tenant_id, dataset_id=event.dataset_id, document_id=document_id)
        )
    return {"requested": len(document_ids)}


@handles(DocumentDeleted)
async def clean_document(event: DocumentDeleted, work: Work) -> JSON:
    """Everything that a deleted document has left goes, in bounded steps, each an event that asks for the next.

    While its row is there nothing goes: it retries.
    """
    with refusals_told():
        deleted = DeletedDocument(
            dataset_id=checked_id("dataset_id", event.dataset_id),
            document_id=checked_id("document_id", event.document_id),
            tenant_id=checked_id("tenant_id", event.tenant_id) if event.tenant_id else None,
            file_id=checked_id("file_id", event.file_id) if event.file_id else None,
        )
        if await standing_documents(work.session, [deleted.document_id]):
            message = f"document {deleted.document_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        platform = work.use(Platform)
        step = await clean_deleted_document(work.session, platform, deleted)
    return await go_on(event, work, step)


HANDLERS = (index_document, request_document_indexing, clean_document)
