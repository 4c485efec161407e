"""The pgvector index in the platform's layout, in the database of the platform's tables or in another one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
from streams.dify.vector_stores.pgvector_database import VectorDatabase, ensure_extension
from streams.dify.vector_stores.port import (
    AnnotationEntry,
    Entry,
    Match,
    VectorQuery,
    check_length,
    is_own_collection,
    lock_collection,
    wrong_length,
)

_MAX_NAME_BYTES = 63
"""PostgreSQL truncates longer names. The platform's names are one byte longer."""
_MAX_INDEXED_DIMENSIONS = 2000
"""pgvector's HNSW index supports no more dimensions."""

_ANY_LENGTH = -1
"""The modifier of a column of vectors that has none."""
_DEFAULT_EF_SEARCH = 40
"""pgvector's default of hnsw.ef_search. An HNSW search returns no more rows than that."""
_MAX_EF_SEARCH = 1000


class PgVectorIndex:
    """One table per collection: id, text, meta, embedding; HNSW index on the cosine distance."""

    kind = "pgvector"
    shares_collections = False

    def __init__(self, database: VectorDatabase | None = None) -> None:
        """`database` has the tables. None: they are in the database of the session."""
        self._database = database
        self.transactional = database is None

    @asynccontextmanager
    async def _transaction(self, session: AsyncSession) -> AsyncIterator[AsyncSession]:
        """Yield the session, or a transaction of its own on the other database."""
        if self._database is None:
            yield session
        else:
            async with self._database.transaction() as own:
                yield own

    async def create(self, session: AsyncSession, collection: str, dimensions: int) -> None:
        """Create the table unless it exists, and the extension. Concurrent calls wait for each other.

        An empty table for vectors of another length is made anew. Raises RefusedError if it is not empty.
        """
        async with self._transaction(session) as target:
            if await _length(target, collection) in {dimensions, _ANY_LENGTH}:
                return
            await ensure_extension(target)
            table = _table(collection, dimensions)
            await lock_collection(target, table.name)
            await _drop_empty_of_another_length(target, collection, dimensions)
            await target.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                await target.execute(CreateIndex(index, if_not_exists=True))

    async def upsert(self, session: AsyncSession, collection: str, entries: Sequence[Entry | AnnotationEntry]) -> None:
        """Write entries. An entry with the same node id is replaced."""
        if not entries:
            return
        statement = insert(_table(collection, len(entries[0].vector)))
        rows = [
            {
                "id": entry.node_id,
                "text": entry.content,
                "meta": entry.metadata,
                "embedding": entry.vector,
            }
            for entry in entries
        ]
        replaced = {name: statement.excluded[name] for name in ("text", "meta", "embedding")}
        async with self._transaction(session) as target:
            await target.execute(statement.on_conflict_do_update(index_elements=["id"], set_=replaced), rows)

    async def delete_nodes(
        self, session: AsyncSession, collection: str, dataset_id: str, node_ids: Sequence[str]
    ) -> int:
        """Delete entries of a dataset by node id. Returns the number of deleted entries."""
        async with self._transaction(session) as target:
            if not node_ids or not await _exists(target, collection):
                return 0
            table = _table(collection)
            # One array instead of one parameter per node: there may be thousands.
            nodes = any_(literal(node_ids, ARRAY(Uuid(as_uuid=False))))
            own = _owner(table) == dataset_id
            return await affected_rows(target, delete(table).where(table.c.id == nodes, own))

    async def delete_document(self, session: AsyncSession, collection: str, dataset_id: str, document_id: str) -> int:
        """Delete every entry of a document of a dataset, by the ids in its metadata. Returns their number."""
        async with self._transaction(session) as target:
            if not await _exists(target, collection):
                return 0
            table = _table(collection)
            names = {"document_id": document_id, "dataset_id": dataset_id}
            which = [_metadata_value(table, name) == value for name, value in names.items()]
            return await affected_rows(target, delete(table).where(*which))

    async def drop(self, session: AsyncSession, collection: str, dataset_id: str, *, shared: bool) -> bool:
        """Drop the table if it is the dataset's own, or if it has no entry of another dataset. Else delete its entries.

        Whether it is its own is decided by the table's name, which PostgreSQL has truncated: the whole id must be left.
        """
        async with self._transaction(session) as target:
            if not await _exists(target, collection):
                return False
            table = _table(collection)
            owner = _owner(table)
            if shared or (
                not is_own_collection(table.name, dataset_id)
                and await target.scalar(select(exists().where(owner != dataset_id)))
            ):
                return await affected_rows(target, delete(table).where(owner == dataset_id)) > 0
            await target.execute(DropTable(table, if_exists=True))
            return True

    async def count(
        self, session: AsyncSession, collection: str, *, dataset_id: str | None = None, document_id: str | None = None
    ) -> int:
        """Return the number of rows of the table, of a dataset, or of a document."""
        async with self._transaction(session) as target:
            if not await _exists(target, collection):
                return 0
            table = _table(collection)
            query = select(func.count()).select_from(table)
            if dataset_id is not None:
                query = query.where(_owner(table) == dataset_id)
            if document_id is not None:
                query = query.where(_metadata_value(table, "document_id") == document_id)
            return await target.scalar(query) or 0

    async def search(self, session: AsyncSession, query: VectorQuery, k: int) -> list[Match]:
        """Return the k nearest rows by cosine distance, best first."""
        async with self._transaction(session) as target:
            found = await _length(target, query.collection)
            if found is None:
                return []
            check_length(found, query.vector, unknown=_ANY_LENGTH)
            if k > _DEFAULT_EF_SEARCH:
                width = str(min(k, _MAX_EF_SEARCH))
                await target.execute(select(func.set_config("hnsw.ef_search", width, True)))  # noqa: FBT003 - is_local
            table = _table(query.collection, len(query.vector))
            distance = table.c.embedding.cosine_distance(query.vector)
            nearest = select(table.c.id, table.c.meta["document_id"].astext, table.c.text, 1 - distance)
            rows = (await target.execute(nearest.order_by(distance).limit(k))).all()
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


def _owner(table: Table) -> ColumnElement[str]:
    """Return the expression of the dataset that a row belongs to, or of the app if it is an annotation."""
    return func.coalesce(_metadata_value(table, "dataset_id"), _metadata_value(table, "app_id"))


async def _exists(session: AsyncSession, collection: str) -> bool:
    found = await session.scalar(
        text("select to_regclass(quote_ident(:name)) is not null"), {"name": table_name(collection)}
    )
    return bool(found)


async def _length(session: AsyncSession, collection: str) -> int | None:
    """Return the length of the table's vectors; None: there is no such table, or it has no column of vectors."""
    found = await session.scalar(
        text(
            "select atttypmod from pg_attribute where attrelid = to_regclass(quote_ident(:name))"
            " and attname = 'embedding' and not attisdropped"
        ),
        {"name": table_name(collection)},
    )
    return None if found is None else int(found)


async def _drop_empty_of_another_length(session: AsyncSession, collection: str, dimensions: int) -> None:
    found = await _length(session, collection)
    if found in {None, dimensions, _ANY_LENGTH}:
        return
    table = _table(collection)
    # Without the lock, rows of a transaction that has not ended would not be seen, and would be dropped.
    name = str(await session.scalar(select(func.quote_ident(table.name)))).replace(":", r"\:")
    await session.execute(text(f"lock table {name} in access exclusive mode"))
    if await session.scalar(select(exists().select_from(table))):
        raise wrong_length(found, dimensions)
    await session.execute(DropTable(table))


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
