"""The baseline of indexing: the same extraction, splitting, model and rows, without a pipeline.

It is as parallel as a worker: eight documents concurrently, their CPU-bound part in as many processes. It leaves out
Kafka, the ledger, leases, steps, statuses and checks.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from pgvector import Vector
from sqlalchemy import Engine, insert, text, update

from benchmarks.documents import DocumentSet
from streams.dify.embedding.cache import encode_vector
from streams.dify.embedding.local import MODEL, PROVIDER, count_tokens_locally, embed_locally, vectors_in
from streams.dify.extraction import extract
from streams.dify.ids import node_id, segment_id
from streams.dify.models import Document, DocumentSegment, Embedding, utc_now
from streams.dify.splitting.forms import pieces_of
from streams.dify.splitting.piece import Piece
from streams.dify.splitting.rules import AUTOMATIC
from streams.local.demo.rows import Upload

_CONCURRENCY = 8
Worked = tuple[int, list[Piece], list[int], list[list[float]]]


class Baseline:
    """Processes and a connection pool, after their warm-up."""

    def __init__(self, document_set: DocumentSet) -> None:
        self._shelf = document_set
        self._collection = f"alone_{document_set.knowledge.dataset_id.replace('-', '_')}"
        processes = document_set.sandbox.settings.compute_processes
        self._processes = ProcessPoolExecutor(processes, mp_context=get_context("forkserver"))
        list(self._processes.map(embed_locally, [["warm"]] * processes))
        with document_set.sandbox.engine.begin() as connection:
            connection.execute(
                text(
                    f"create table {self._collection} (id uuid primary key, text text not null, meta jsonb not null,"
                    " embedding vector(256) not null)"
                )
            )
            connection.execute(
                text(
                    f"create index on {self._collection} using hnsw (embedding vector_cosine_ops)"
                    " with (m = 16, ef_construction = 64)"
                )
            )
            connection.execute(text(f"create index on {self._collection} ((meta->>'document_id'))"))

    def run(self, uploads: Sequence[Upload]) -> None:
        """Index these documents; returns when all are done."""
        with ThreadPoolExecutor(_CONCURRENCY) as threads:
            list(threads.map(self._index, uploads))

    def close(self) -> None:
        """Stop the processes."""
        self._processes.shutdown()

    def _index(self, upload: Upload) -> None:
        path = self._shelf.sandbox.folder / "storage" / upload.key
        worked = self._processes.submit(work, path, upload.source.extension, upload.document_id).result()
        _write(self._shelf, self._collection, upload, worked)


def work(path: Path, extension: str, document_id: str) -> Worked:
    """The CPU-bound part."""
    found = extract(path.read_bytes(), extension, document_id)
    pieces = pieces_of(found.parts, "text_model", AUTOMATIC)
    contents = [piece.content for piece in pieces]
    return len(found.text), pieces, count_tokens_locally(contents), vectors_in(embed_locally(contents))


def _write(document_set: DocumentSet, collection: str, upload: Upload, worked: Worked) -> None:
    characters, pieces, tokens, vectors = worked
    now = utc_now()
    nodes = [node_id(upload.document_id, now, piece.position, piece.content_hash) for piece in pieces]
    knowledge, engine = document_set.knowledge, document_set.sandbox.engine
    row = partial(
        dict[str, object],
        tenant_id=knowledge.tenant_id,
        dataset_id=knowledge.dataset_id,
        document_id=upload.document_id,
        created_by=knowledge.account_id,
    )
    _in_one_transaction(
        engine,
        [
            (
                insert(DocumentSegment),
                [
                    row(
                        id=segment_id(node),
                        position=piece.position,
                        content=piece.content,
                        word_count=len(piece.content),
                        tokens=count,
                        index_node_id=node,
                        index_node_hash=piece.content_hash,
                        status="completed",
                        enabled=True,
                        indexing_at=now,
                        completed_at=now,
                    )
                    for node, piece, count in zip(nodes, pieces, tokens, strict=True)
                ],
            ),
            (
                insert(Embedding),
                [
                    {
                        "provider_name": PROVIDER,
                        "model_name": MODEL,
                        # Reversed, so that it does not collide with the pipeline's own entries.
                        "hash": piece.content_hash[::-1],
                        "embedding": encode_vector(vector),
                    }
                    for piece, vector in zip(pieces, vectors, strict=True)
                ],
            ),
            (
                text(f"insert into {collection} values (:id, :text, :meta, :embedding)"),  # noqa: S608 - made of a UUID
                [
                    {
                        "id": node,
                        "text": piece.content,
                        "meta": json.dumps({"doc_id": node, "document_id": upload.document_id}),
                        "embedding": Vector(vector).to_text(),
                    }
                    for node, piece, vector in zip(nodes, pieces, vectors, strict=True)
                ],
            ),
            (
                update(Document)
                .where(Document.id == upload.document_id)
                .values(indexing_status="completed", word_count=characters, completed_at=now, tokens=sum(tokens)),
                None,
            ),
        ],
    )


def _in_one_transaction(engine: Engine, statements: Sequence[tuple[object, object]]) -> None:
    with engine.begin() as connection:
        for statement, rows in statements:
            connection.execute(statement, rows)  # type: ignore[call-overload]  # insert, update and text alike
