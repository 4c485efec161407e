"""Documents: index them, clean up after them."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from schemas import DocumentDeleted, DocumentIndexCreated, DocumentIndexRequested
from streams.agents.refusing import refusals_are_permanent
from streams.delivery import Backoff, Retry, Work, handles
from streams.delivery.failures import Reason
from streams.delivery.handler import JSON
from streams.dify.cleanup import DeletedDocument, clean_deleted_document, document_stands
from streams.dify.extraction import extract
from streams.dify.identity import checked_id
from streams.dify.indexing import (
    Job,
    begin,
    complete,
    next_group,
    record_failure,
    record_parsed,
    record_split,
    save_segments,
    write_group,
)
from streams.dify.platform import Platform
from streams.dify.refusals import ExtractionError, RefusedError
from streams.dify.splitting import pieces_of
from streams.dify.standing import Stopped

T = TypeVar("T")

INSERTED_AT_ONCE = 1000
"""Segments that one step inserts."""


def _document(event: DocumentIndexRequested) -> str:
    return f"document:{event.document_id}"


async def _record_death(event: DocumentIndexRequested, work: Work, error: BaseException) -> None:
    """The document shows why it was given up: the status error, and the reason."""
    try:
        dataset_id = checked_id("dataset_id", event.dataset_id)
        document_id = checked_id("document_id", event.document_id)
    except RefusedError:
        return  # No row has such an id.
    await record_failure(work.session, dataset_id, document_id, str(error) or type(error).__name__)


@handles(
    DocumentIndexRequested,
    kind="long",
    resource=_document,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="30m",
    time_limit="35m",
    on_dead=_record_death,
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
                await _split(job, work, platform)
            await _embed(job, work, platform)
            async with work.step(final=True) as session:
                return dict(await complete(session, job))
    except Stopped as stopped:
        return {"skipped": str(stopped)}


async def _split(job: Job, work: Work, platform: Platform) -> None:
    content = await platform.storage.read(job.source.key)
    text = await work.compute(extract, content, job.source.extension)
    async with work.step() as session:
        await record_parsed(session, job, len(text))
    pieces = await work.compute(pieces_of, text, job.rule)
    if not pieces:
        message = "the file holds nothing but punctuation"
        raise ExtractionError(message)
    tokens = await job.embedder.count_tokens([piece.content for piece in pieces], work.compute)
    for some, counts in zip(_in_groups(pieces), _in_groups(tokens), strict=True):
        async with work.step() as session:
            await save_segments(session, job, some, counts)
    async with work.step() as session:
        await record_split(session, job)


def _in_groups(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + INSERTED_AT_ONCE] for start in range(0, len(items), INSERTED_AT_ONCE))


async def _embed(job: Job, work: Work, platform: Platform) -> None:
    """Group by group, so that a crash loses one group at most; the model runs between the transactions."""
    async with work.step() as session:
        group = await next_group(session, job)
    while group.segments:
        unknown = group.unknown
        vectors = await job.embedder.embed(list(unknown.values()), work.compute) if unknown else []
        made = dict(zip(unknown, vectors, strict=True))
        async with work.step() as session:
            await write_group(session, platform, job, group, made)
            group = await next_group(session, job)


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
    """Everything that a deleted document has left goes. While its row is there nothing does: it retries."""
    with refusals_are_permanent():
        deleted = DeletedDocument(
            dataset_id=checked_id("dataset_id", event.dataset_id),
            document_id=checked_id("document_id", event.document_id),
            tenant_id=checked_id("tenant_id", event.tenant_id) if event.tenant_id else None,
            file_id=checked_id("file_id", event.file_id) if event.file_id else None,
        )
        if await document_stands(work.session, deleted.document_id):
            message = f"document {deleted.document_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        removed = await clean_deleted_document(work.session, work.use(Platform), deleted)
    return dict(removed)


HANDLERS = (index_document, request_document_indexing, clean_document)
