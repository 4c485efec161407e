"""Indexes documents: one event requests all of them, and each document has its own delivery."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sqlalchemy import func, select

from schemas import DocumentIndexCreated
from streams.database.tables import executions
from streams.dify.models import Document, DocumentSegment
from streams.local.demo.checks import ClaimError, check
from streams.local.demo.context import DemoContext
from streams.local.demo.documents import SourceFile
from streams.local.demo.rows import Upload, add_dataset, add_documents, upload_of
from streams.publishing import EventProducer

STATUSES = ("waiting", "parsing", "splitting", "indexing", "completed")
INDEXING = "index-document"


@dataclass(frozen=True, slots=True)
class IndexingResult:
    """The result of the indexing; times in seconds."""

    uploads: tuple[Upload, ...]
    segments: int
    took: float
    """From the first request on its topic to the last completion."""
    latency_median: float
    """From a request on its topic to the completion of its document."""
    latency_most: float


def index_documents(demo: DemoContext, sources: Sequence[SourceFile]) -> IndexingResult:
    """Store the files, insert the rows, publish, and wait until all documents are completed. Raises ClaimError."""
    uploads = tuple(upload_of(source, demo.knowledge) for source in sources)
    demo.run(_store(demo, uploads))
    demo.in_transaction(lambda session: add_dataset(session, demo.knowledge))
    demo.in_transaction(lambda session: add_documents(session, demo.knowledge, uploads))
    event = DocumentIndexCreated(
        tenant_id=demo.knowledge.tenant_id,
        dataset_id=demo.knowledge.dataset_id,
        document_ids=[upload.document_id for upload in uploads],
    )
    with EventProducer(demo.settings, demo.codec) as producer:
        place = producer.publish(event)
    demo.screen.done(f"Kafka acknowledged {place.topic}, partition {place.partition}, offset {place.offset}")
    with demo.screen.bars(STATUSES, len(uploads)) as update:

        def completed() -> bool | None:
            counts = _by_status(demo, uploads)
            update(counts)
            return True if counts["completed"] == len(uploads) else None

        demo.wait_for(completed, f"the indexing of all {len(uploads)} documents")
    return _verify(demo, uploads)


async def _store(demo: DemoContext, uploads: Sequence[Upload]) -> None:
    await asyncio.gather(*(demo.platform.storage.write(upload.key, upload.source.content) for upload in uploads))


def _by_status(demo: DemoContext, uploads: Sequence[Upload]) -> Counter[str]:
    """Count documents by status. Raises ClaimError with the reason if one has failed permanently."""
    ids = [upload.document_id for upload in uploads]
    with demo.engine.connect() as connection:
        rows = connection.execute(
            select(Document.name, Document.indexing_status, Document.error).where(Document.id.in_(ids))
        ).all()
    for name, status, error in rows:
        if status == "error":
            message = f"{name} was not indexed: {error}"
            raise ClaimError(message)
    return Counter(status for _, status, _ in rows)


def _verify(demo: DemoContext, uploads: tuple[Upload, ...]) -> IndexingResult:
    """Check that every document has segments, every segment its vector, and every delivery has succeeded."""
    ids = [upload.document_id for upload in uploads]
    of_documents = DocumentSegment.document_id.in_(ids)
    with demo.engine.connect() as connection:
        segments, documents = connection.execute(
            select(func.count(), func.count(DocumentSegment.document_id.distinct())).where(
                of_documents, DocumentSegment.status == "completed"
            )
        ).one()
    vectors = demo.vectors()
    check(condition=documents == len(ids), message=f"only {documents} of {len(ids)} documents have segments")
    check(condition=vectors == segments, message=f"{segments} segments are indexed, but there are {vectors} vectors")
    spans = demo.wait_for(lambda: _spans(demo, len(ids)), "the last delivery's success in the ledger")
    seconds = [(end - start).total_seconds() for start, end in spans]
    took = (max(end for _, end in spans) - min(start for start, _ in spans)).total_seconds()
    demo.screen.done(
        f"{len(ids)} documents completed: {segments} segments, {vectors} vectors, "
        f"{len(ids)} successful executions in the ledger"
    )
    return IndexingResult(uploads, segments, took, median(seconds), max(seconds))


def _spans(demo: DemoContext, expected: int) -> list[tuple[datetime, datetime]] | None:
    """Return the request and completion times of all indexings, once all have succeeded in the ledger."""
    columns = executions.c
    with demo.engine.connect() as connection:
        rows = connection.execute(
            select(columns.created_at, columns.completed_at).where(
                columns.handler == INDEXING,
                columns.status == "success",
                columns.tenant_id == demo.knowledge.tenant_id,
            )
        ).all()
    return [(start, end) for start, end in rows] if len(rows) == expected else None
