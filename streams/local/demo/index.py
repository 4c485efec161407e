"""Documents become segments and vectors: one event asks for all of them, each has its own delivery."""

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
from streams.local.demo.claims import ClaimError, claim
from streams.local.demo.documents import SourceFile
from streams.local.demo.rows import Upload, add_dataset, add_documents, upload_of
from streams.local.demo.stage import Stage
from streams.publishing import EventProducer

STATUSES = ("waiting", "parsing", "splitting", "indexing", "completed")
INDEXING = "index-document"


@dataclass(frozen=True, slots=True)
class Indexed:
    """What came of it; times in seconds."""

    uploads: tuple[Upload, ...]
    segments: int
    took: float
    """From the first request on its topic to the last completion."""
    latency_median: float
    """From a request on its topic to the completion of its document."""
    latency_most: float


def index_documents(stage: Stage, sources: Sequence[SourceFile]) -> Indexed:
    """Store the files, write the rows, publish, and wait until every document is completed. Raises ClaimError."""
    uploads = tuple(upload_of(source, stage.knowledge) for source in sources)
    stage.run(_store(stage, uploads))
    stage.in_transaction(lambda session: add_dataset(session, stage.knowledge))
    stage.in_transaction(lambda session: add_documents(session, stage.knowledge, uploads))
    event = DocumentIndexCreated(
        tenant_id=stage.knowledge.tenant_id,
        dataset_id=stage.knowledge.dataset_id,
        document_ids=[upload.document_id for upload in uploads],
    )
    with EventProducer(stage.settings, stage.codec) as producer:
        place = producer.publish(event)
    stage.screen.done(f"Kafka acknowledged {place.topic}, partition {place.partition}, offset {place.offset}")
    with stage.screen.bars(STATUSES, len(uploads)) as update:

        def completed() -> bool | None:
            counts = _by_status(stage, uploads)
            update(counts)
            return True if counts["completed"] == len(uploads) else None

        stage.wait_for(completed, f"the indexing of all {len(uploads)} documents")
    return _look_up(stage, uploads)


async def _store(stage: Stage, uploads: Sequence[Upload]) -> None:
    await asyncio.gather(*(stage.platform.storage.write(upload.key, upload.source.content) for upload in uploads))


def _by_status(stage: Stage, uploads: Sequence[Upload]) -> Counter[str]:
    """Documents by status. Raises ClaimError with its reason where one has failed for good."""
    ids = [upload.document_id for upload in uploads]
    with stage.engine.connect() as connection:
        rows = connection.execute(
            select(Document.name, Document.indexing_status, Document.error).where(Document.id.in_(ids))
        ).all()
    for name, status, error in rows:
        if status == "error":
            message = f"{name} was not indexed: {error}"
            raise ClaimError(message)
    return Counter(status for _, status, _ in rows)


def _look_up(stage: Stage, uploads: tuple[Upload, ...]) -> Indexed:
    """Every document has segments, every segment its vector, every delivery succeeded."""
    ids = [upload.document_id for upload in uploads]
    of_documents = DocumentSegment.document_id.in_(ids)
    with stage.engine.connect() as connection:
        segments, documents = connection.execute(
            select(func.count(), func.count(DocumentSegment.document_id.distinct())).where(
                of_documents, DocumentSegment.status == "completed"
            )
        ).one()
    vectors = stage.vectors()
    claim(holds=documents == len(ids), otherwise=f"only {documents} of {len(ids)} documents have segments")
    claim(holds=vectors == segments, otherwise=f"{segments} segments are indexed, but there are {vectors} vectors")
    spans = stage.wait_for(lambda: _spans(stage, len(ids)), "the last delivery's success in the ledger")
    seconds = [(end - start).total_seconds() for start, end in spans]
    took = (max(end for _, end in spans) - min(start for start, _ in spans)).total_seconds()
    stage.screen.done(
        f"{len(ids)} documents completed: {segments} segments, {vectors} vectors, "
        f"{len(ids)} successful executions in the ledger"
    )
    return Indexed(uploads, segments, took, median(seconds), max(seconds))


def _spans(stage: Stage, expected: int) -> list[tuple[datetime, datetime]] | None:
    """When each indexing was asked for and done, once all are in the ledger as successes."""
    columns = executions.c
    with stage.engine.connect() as connection:
        rows = connection.execute(
            select(columns.created_at, columns.completed_at).where(
                columns.handler == INDEXING,
                columns.status == "success",
                columns.tenant_id == stage.knowledge.tenant_id,
            )
        ).all()
    return [(start, end) for start, end in rows] if len(rows) == expected else None
