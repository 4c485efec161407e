"""Clean-up of a dataset of 100,000 segments beside the same row by row."""

import time

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from benchmarks.documents import Shelf, fill_shelf
from benchmarks.environment import Ground, Plot, say, wait_until
from benchmarks.result import Result, Results
from schemas import DatasetDeleted
from streams.codec import build_codec
from streams.dify.models import Dataset, Document, DocumentSegment
from streams.local.demo.documents import SourceFile
from streams.publishing import EventProducer
from streams.topics import load_catalogue

SEGMENTS = 100_000
_A_DOCUMENT = 1000
_BY_ROW = 2000
"""Segments that are removed one by one: the time of all is computed from theirs."""
_PATIENCE = 1200.0


def run(ground: Ground, scale: float) -> Results:
    """How many times faster than row by row: at least 10."""
    count = max(round(SEGMENTS * scale), 2 * _A_DOCUMENT)
    with ground.plot("cleaning") as plot:
        say(f"two datasets, one of {count} segments with their vectors")
        ours, theirs = _dataset(plot, count), _dataset(plot, _BY_ROW)
        began = time.perf_counter()
        _row_by_row(theirs)
        by_row = (time.perf_counter() - began) / _BY_ROW * count
        with plot.worker():
            began = time.perf_counter()
            _delete(ours)
            wait_until(lambda: _left(ours) == 0, "the clean-up", _PATIENCE)
            took = time.perf_counter() - began
        yield Result(
            "cleaning-dataset",
            by_row / took,
            "times faster than row by row",
            "at least",
            10,
            {"segments": count, "seconds": round(took, 2), "row_by_row_seconds": round(by_row, 1)},
        )


def _table(shelf: Shelf) -> str:
    return f"embedding_vector_index_{shelf.knowledge.dataset_id.replace('-', '_')}_node"[:63]


def _dataset(plot: Plot, segments: int) -> Shelf:
    """A dataset whose segments and vectors are written by SQL alone."""
    documents = segments // _A_DOCUMENT
    shelf = fill_shelf(plot, (SourceFile(f"{n}.txt", b"text") for n in range(documents)))
    table = _table(shelf)
    with plot.engine.begin() as connection:
        connection.execute(
            text(
                "insert into document_segments (tenant_id, dataset_id, document_id, position, content, word_count,"
                " tokens, index_node_id, index_node_hash, status, enabled, created_by)"
                " select tenant_id, dataset_id, id, n, 'Segment ' || n || ' of a document, ' || repeat('word ', 80),"
                " 420, 90, uuid_generate_v4(), 'hash', 'completed', true, created_by"
                " from documents, generate_series(1, :each) as n where dataset_id = :dataset"
            ),
            {"each": _A_DOCUMENT, "dataset": shelf.knowledge.dataset_id},
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
            {"dataset": shelf.knowledge.dataset_id},
        )
        connection.execute(text(f"create index on {table} ((meta->>'document_id'))"))
        connection.execute(
            text("update documents set indexing_status = 'completed' where dataset_id = :dataset"),
            {"dataset": shelf.knowledge.dataset_id},
        )
    return shelf


def _row_by_row(shelf: Shelf) -> None:
    """As the platform does it: everything is loaded, then removed one by one, vectors and rows; one commit."""
    table = _table(shelf)
    with Session(shelf.plot.engine) as session, session.begin():
        rows = session.scalars(
            select(DocumentSegment).where(DocumentSegment.dataset_id == shelf.knowledge.dataset_id)
        ).all()
        for row in rows:
            session.execute(text(f"delete from {table} where id = cast(:id as uuid)"), {"id": row.index_node_id})  # noqa: S608 - made of a UUID
            session.delete(row)
            session.flush()
        session.execute(delete(Document).where(Document.dataset_id == shelf.knowledge.dataset_id))


def _delete(shelf: Shelf) -> None:
    with Session(shelf.plot.engine) as session, session.begin():
        session.execute(delete(Dataset).where(Dataset.id == shelf.knowledge.dataset_id))
    codec = build_codec(shelf.plot.settings, load_catalogue(shelf.plot.settings))
    event = DatasetDeleted(tenant_id=shelf.knowledge.tenant_id, dataset_id=shelf.knowledge.dataset_id)
    with EventProducer(shelf.plot.settings, codec=codec) as producer:
        producer.publish_many([event])


def _left(shelf: Shelf) -> int:
    return shelf.plot.scalar(
        "select count(*) from (select 1 from documents where dataset_id = :dataset"
        " union all select 1 from document_segments where dataset_id = :dataset"
        " union all select 1 from dataset_process_rules where dataset_id = :dataset limit 1) as rest",
        dataset=shelf.knowledge.dataset_id,
    )
