"""The pgvector index in the platform's layout, in the database of the platform's tables."""

from collections.abc import Sequence
from hashlib import md5

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    MetaData,
    Table,
    Text,
    Uuid,
    any_,
    delete,
    exists,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from streams.dify.sql import affected_rows
from streams.dify.vector_stores.pgvector_binary import PackedVector
from streams.dify.vector_stores.port import Entry, Match, VectorQuery, is_own_collection

_MAX_NAME_BYTES = 63
"""PostgreSQL truncates longer names. The platform's names are one byte longer."""
_MAX_INDEXED_DIMENSIONS = 2000
"""pgvector's HNSW index supports no more dimensions."""

_DEFAULT_EF_SEARCH = 40
"""pgvector's default of hnsw.ef_search. An HNSW search returns no more rows than that."""
_MAX_EF_SEARCH = 1000


class PgVectorIndex:
    """One table per collection: id, text, meta, embedding; HNSW index on the cosine distance."""

    kind = "pgvector"
    transactional = True
    shares_collections = False

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Create the table unless it exists. Concurrent calls wait for each other."""
        if await _exists(session, collection):
            return
        table = _table(collection, dimensions)
        await session.execute(
            select(func.pg_advisory_xact_lock(func.hashtextextended(f"vector collection {table.name}", 0)))
        )
        await session.execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            await session.execute(CreateIndex(index, if_not_exists=True))

    async def upsert(self, session: AsyncSession, collection: str, entries: Sequence[Entry]) -> None:
        """Write entries. An entry with the same node id is replaced."""
        if not entries:
            return
        statement = insert(_table(collection, len(entries[0].vector)))
        rows = [
            {
                "id": entry.node_id,
                "text": entry.content,
                "meta": {
                    "doc_id": entry.node_id,
                    "doc_hash": entry.content_hash,
                    "document_id": entry.document_id,
                    "dataset_id": entry.dataset_id,
                },
                "embedding": entry.vector,
            }
            for entry in entries
        ]
        replaced = {name: statement.excluded[name] for name in ("text", "meta", "embedding")}
        await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=replaced), rows)

    async def delete_nodes(self, session: AsyncSession, collection: str, node_ids: Sequence[str]) -> int:
        """Delete entries by node id. Returns the number of deleted entries."""
        if not node_ids or not await _exists(session, collection):
            return 0
        table = _table(collection)
        # One array instead of one parameter per node: there may be thousands.
        nodes = any_(literal(node_ids, ARRAY(Uuid(as_uuid=False))))
        return await affected_rows(session, delete(table).where(table.c.id == nodes))

    async def delete_document(self, session: AsyncSession, collection: str, document_id: str) -> int:
        """Delete every entry of a document, by the document id in its metadata. Returns their number."""
        if not await _exists(session, collection):
            return 0
        table = _table(collection)
        return await affected_rows(session, delete(table).where(_metadata_value(table, "document_id") == document_id))

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str) -> bool:
        """Drop the table. If it contains entries of other datasets, delete only this dataset's entries.

        Returns whether there was anything to delete.
        """
        if not await _exists(session, collection):
            return False
        table = _table(collection)
        owner = _metadata_value(table, "dataset_id")
        if not is_own_collection(collection, dataset_id) and await session.scalar(
            select(exists().where(owner != dataset_id))
        ):
            return await affected_rows(session, delete(table).where(owner == dataset_id)) > 0
        await session.execute(DropTable(table, if_exists=True))
        return True

    async def count(
        self, session: AsyncSession, collection: str, *, dataset_id: str | None = None, document_id: str | None = None
    ) -> int:
        """Return the number of rows of the table, of a dataset, or of a document."""
        if not await _exists(session, collection):
            return 0
        table = _table(collection)
        query = select(func.count()).select_from(table)
        for name, value in (("dataset_id", dataset_id), ("document_id", document_id)):
            if value is not None:
                query = query.where(_metadata_value(table, name) == value)
        return await session.scalar(query) or 0

    async def search(self, session: AsyncSession, query: VectorQuery, k: int) -> list[Match]:
        """Return the k nearest rows by cosine distance, best first."""
        if not await _exists(session, query.collection):
            return []
        if k > _DEFAULT_EF_SEARCH:
            width = str(min(k, _MAX_EF_SEARCH))
            await session.execute(select(func.set_config("hnsw.ef_search", width, True)))  # noqa: FBT003 - is_local
        table = _table(query.collection, len(query.vector))
        distance = table.c.embedding.cosine_distance(query.vector)
        rows = await session.execute(
            select(table.c.id, table.c.meta["document_id"].astext, table.c.text, 1 - distance)
            .order_by(distance)
            .limit(k)
        )
        return [Match(str(node), document, content, float(score)) for node, document, content, score in rows]


def table_name(collection: str) -> str:
    """Return the table name of a collection.

    PostgreSQL converts the platform's unquoted ``embedding_<collection>`` to lower case and truncates it.
    """
    return f"embedding_{collection}".lower().encode()[:_MAX_NAME_BYTES].decode(errors="ignore")


def _metadata_value(table: Table, name: str) -> ColumnElement[str]:
    """Return the expression of a metadata value."""
    found: ColumnElement[str] = table.c.meta[name].astext
    return found


async def _exists(session: AsyncSession, collection: str) -> bool:
    found = await session.scalar(
        text("select to_regclass(quote_ident(:name)) is not null"), {"name": table_name(collection)}
    )
    return bool(found)


def _table(collection: str, dimensions: int | None = None) -> Table:
    name = table_name(collection)
    suffix = md5(f"embedding_{collection}".encode(), usedforsecurity=False).hexdigest()[:8]
    table = Table(
        name,
        MetaData(),
        Column("id", Uuid(as_uuid=False), primary_key=True),
        Column("text", Text, nullable=False),
        Column("meta", JSONB, nullable=False),
        Column("embedding", PackedVector(dimensions), nullable=False),
    )
    if dimensions is not None and dimensions <= _MAX_INDEXED_DIMENSIONS:
        Index(
            f"embedding_cosine_v1_idx_{suffix}",
            table.c.embedding,
            postgresql_using="hnsw",
            postgresql_with={"m": 16, "ef_construction": 64},
            postgresql_ops={"embedding": "vector_cosine_ops"},
        )
    # The platform has no such index. It reads the whole table to delete a document's rows.
    Index(f"embedding_document_idx_{suffix}", table.c.meta["document_id"].astext)
    return table
