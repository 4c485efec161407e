"""Clean-up of a dataset of 100,000 segments, compared with deleting row by row."""

import time

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from benchmarks.documents import DocumentSet, create_documents
from benchmarks.environment import Sandbox, Servers, say, wait_until
from benchmarks.result import Result, Results
from schemas import DatasetDeleted
from streams.codec import build_codec
from streams.dify.models import Dataset, Document, DocumentSegment
from streams.local.demo.documents import SourceFile
from streams.publishing import EventProducer
from streams.topics import load_catalogue

SEGMENTS = 100_000
_SEGMENTS_PER_DOCUMENT = 1000
_ROW_BY_ROW_SEGMENTS = 2000
"""Segments that are deleted one by one. The time for all is extrapolated from them."""
_TIMEOUT = 1200.0


def run(servers: Servers, scale: float) -> Results:
    """The factor by which it is faster than row by row: at least 10."""
    count = max(round(SEGMENTS * scale), 2 * _SEGMENTS_PER_DOCUMENT)
    with servers.sandbox("cleaning") as sandbox:
        say(f"two datasets, one of {count} segments with their vectors")
        ours, theirs = _dataset(sandbox, count), _dataset(sandbox, _ROW_BY_ROW_SEGMENTS)
        started = time.perf_counter()
        _row_by_row(theirs)
        by_row = (time.perf_counter() - started) / _ROW_BY_ROW_SEGMENTS * count
        with sandbox.worker():
            started = time.perf_counter()
            _delete(ours)
            wait_until(lambda: _left(ours) == 0, "the clean-up", _TIMEOUT)
            took = time.perf_counter() - started
        yield Result(
            "cleaning-dataset",
            by_row / took,
            "times faster than row by row",
            "at least",
            10,
            {"segments": count, "seconds": round(took, 2), "row_by_row_seconds": round(by_row, 1)},
        )


def _table(document_set: DocumentSet) -> str:
    return f"embedding_vector_index_{document_set.knowledge.dataset_id.replace('-', '_')}_node"[:63]


def _dataset(sandbox: Sandbox, segments: int) -> DocumentSet:
    """Create a dataset whose segments and vectors are inserted by SQL only."""
    documents = segments // _SEGMENTS_PER_DOCUMENT
    document_set = create_documents(sandbox, (SourceFile(f"{n}.txt", b"text") for n in range(documents)))
    table = _table(document_set)
    with sandbox.engine.begin() as connection:
        connection.execute(
            text(
                "insert into document_segments (tenant_id, dataset_id, document_id, position, content, word_count,"
                " tokens, hit_count, index_node_id, index_node_hash, status, enabled, created_by)"
                " select tenant_id, dataset_id, id, n, 'Segment ' || n || ' of a document, ' || repeat('word ', 80),"
                " 420, 90, 0, uuid_generate_v4(), 'hash', 'completed', true, created_by"
                " from documents, generate_series(1, :each) as n where dataset_id = :dataset"
            ),
            {"each": _SEGMENTS_PER_DOCUMENT, "dataset": document_set.knowledge.dataset_id},
        )
        connection.execute(
            text(
                f"create table {table} (id uuid primary key, text text not null, meta jsonb not null,"
                " embedding vector(256) not null)"
            )
        )
        connection.execute(
            text(
                f"insert into {table} select cast(index_node_id as uuid), content,"  # noqa: S608 - made of a UUID
                " jsonb_build_object('doc_id', index_node_id, 'document_id', document_id, 'dataset_id', dataset_id),"
                " (select array_agg(random()) from generate_series(1, 256) where position > 0)::vector"
                " from document_segments where dataset_id = :dataset"
            ),
            {"dataset": document_set.knowledge.dataset_id},
        )
        connection.execute(text(f"create index on {table} ((meta->>'document_id'))"))
        connection.execute(
            text("update documents set indexing_status = 'completed' where dataset_id = :dataset"),
            {"dataset": document_set.knowledge.dataset_id},
        )
    return document_set


def _row_by_row(document_set: DocumentSet) -> None:
    """Delete as the platform does: load all, then delete vectors and rows one by one, in one transaction."""
    table = _table(document_set)
    with Session(document_set.sandbox.engine) as session, session.begin():
        rows = session.scalars(
            select(DocumentSegment).where(DocumentSegment.dataset_id == document_set.knowledge.dataset_id)
        ).all()
        for row in rows:
            session.execute(text(f"delete from {table} where id = cast(:id as uuid)"), {"id": row.index_node_id})  # noqa: S608 - made of a UUID
            session.delete(row)
            session.flush()
        session.execute(delete(Document).where(Document.dataset_id == document_set.knowledge.dataset_id))


def _delete(document_set: DocumentSet) -> None:
    with Session(document_set.sandbox.engine) as session, session.begin():
        session.execute(delete(Dataset).where(Dataset.id == document_set.knowledge.dataset_id))
    codec = build_codec(document_set.sandbox.settings, load_catalogue(document_set.sandbox.settings))
    event = DatasetDeleted(tenant_id=document_set.knowledge.tenant_id, dataset_id=document_set.knowledge.dataset_id)
    with EventProducer(document_set.sandbox.settings, codec=codec) as producer:
        producer.publish_many([event])


def _left(document_set: DocumentSet) -> int:
    return document_set.sandbox.scalar(
        "select count(*) from (select 1 from documents where dataset_id = :dataset"
        " union all select 1 from document_segments where dataset_id = :dataset"
        " union all select 1 from dataset_process_rules where dataset_id = :dataset limit 1) as rest",
        dataset=document_set.knowledge.dataset_id,
    )
