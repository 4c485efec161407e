"""Documents: index them, clean up after them."""

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import TypeVar

from schemas import DocumentDeleted, DocumentIndexCreated, DocumentIndexRequested, DocumentSyncRequested
from streams.agents.loading import load
from streams.agents.refusing import refusals_are_permanent
from streams.agents.repeating import go_on
from streams.delivery import Backoff, Retry, Work, handles
from streams.delivery.failures import Reason
from streams.delivery.handler import JSON
from streams.dify.answers import answer_key, keep_answers, kept_answers
from streams.dify.cleanup import DeletedDocument, clean_deleted_document, standing_documents
from streams.dify.extraction import Image, extract
from streams.dify.forms import pieces_of
from streams.dify.forms.piece import Piece
from streams.dify.forms.question import question_pieces
from streams.dify.identity import checked_id
from streams.dify.images import record_images, store_images
from streams.dify.indexing import (
    Job,
    begin,
    complete,
    record_failure,
    record_parsed,
    record_split,
    save_children,
    save_segments,
)
from streams.dify.interview import ask_all
from streams.dify.platform import Platform
from streams.dify.questions import ChatEndpoint
from streams.dify.refusals import ExtractionError, RefusedError
from streams.dify.replacing import remove_unfinished
from streams.dify.segment_rows import children_of
from streams.dify.standing import Stopped

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
    on_dead=record_death,
)
async def index_document(event: DocumentIndexRequested, work: Work) -> JSON:
    """A document becomes segments and vectors.

    Every step holds the rows of dataset and document; once one is gone it stops, and that is success: delete wins.
    """
    platform = work.use(Platform)
    try:
        with refusals_are_permanent():
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
    read = await platform.reading.read(job.source)
    found = await work.compute(extract, read.content, read.extension, job.generation.document_id)
    await _store_images(found.images, job, work, platform)
    async with work.step() as session:
        await record_parsed(session, job, len(found.text), read.edited)
    pieces = await work.compute(pieces_of, found.text, job.form, job.rules)
    if not pieces:
        message = "the file holds nothing but punctuation"
        raise ExtractionError(message)
    if platform.chat is not None and job.form == "qa_model":
        pieces = await _questions(pieces, platform.chat, job, work)
    tokens = await _tokens(pieces, job, work)
    for some, counts in zip(_in_groups(pieces), _in_groups(tokens), strict=True):
        async with work.step() as session:
            await save_segments(session, job, some, counts)
    for children in _in_groups(list(children_of(pieces))):
        async with work.step() as session:
            await save_children(session, job, children)
    async with work.step() as session:
        await record_split(session, job)


async def _tokens(pieces: Sequence[Piece], job: Job, work: Work) -> list[int]:
    """As on the platform, nothing is counted where no model will read it."""
    if job.embedder is None:
        return [0] * len(pieces)
    return await job.embedder.count_tokens([piece.content for piece in pieces], work.compute)


async def _questions(chunks: Sequence[Piece], chat: ChatEndpoint, job: Job, work: Work) -> tuple[Piece, ...]:
    """Questions and answers in place of the chunks. What is answered is kept at once: a retry asks for the rest."""
    keys = [answer_key(chat.model, job.language, chunk.content) for chunk in chunks]
    async with work.step() as session:
        known = await kept_answers(session, job.generation)
    missing = {key: chunk.content for key, chunk in zip(keys, chunks, strict=True) if key not in known}
    async with chat.open() as asker, aclosing(ask_all(asker, missing, job.language)) as coming:
        async for answers in coming:
            async with work.step() as session:
                await keep_answers(session, job.generation, answers)
            known.update(answers)
    return question_pieces(pair for key in keys for pair in known[key])


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
    with refusals_are_permanent():
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
