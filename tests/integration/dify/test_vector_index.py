"""pgvector in the platform's layout."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from streams.dify.vector_stores.pgvector import PgVectorIndex, table_name
from streams.dify.vector_stores.port import Entry, VectorQuery, collection_name
from tests.support.platform.handler_runs import Site, open_site

INDEX = PgVectorIndex()
DATASET = str(uuid4())


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


def make_entry(
    vector: list[float],
    document_id: str,
    node_id: str | None = None,
    content: str = "text",
    dataset_id: str = DATASET,
) -> Entry:
    return Entry(node_id or str(uuid4()), content, "hash", document_id, dataset_id, vector)


@pytest.mark.requirement(
    "The work on the platform's tables",
    "pgvector in the platform's layout, deterministic node ids",
)
async def test_the_table_is_the_platforms(site: Site) -> None:
    """Name, columns and HNSW index are the ones that the platform uses."""
    dataset_id = str(uuid4())
    collection = collection_name("Vector_index", dataset_id)
    async with site.transaction() as session:
        await INDEX.create(session, collection, 8)
        # The platform's own spelling: unquoted, in mixed case, one byte longer than the limit of a name.
        unquoted = f"embedding_{collection}"
        await session.execute(
            text(f"insert into {unquoted} (id, text, meta, embedding) values (:id, 't', '{{}}', :vector)"),
            {"id": str(uuid4()), "vector": "[1,0,0,0,0,0,0,0]"},
        )
        assert await INDEX.count(session, collection) == 1
        columns = await session.execute(
            text(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute"
                " where attrelid = cast(:name as regclass) and attnum > 0 order by attnum"
            ),
            {"name": table_name(collection)},
        )
        assert [tuple(row) for row in columns] == [
            ("id", "uuid"),
            ("text", "text"),
            ("meta", "jsonb"),
            ("embedding", "vector(8)"),
        ]
        indexes = await session.scalars(
            text("select indexdef from pg_indexes where tablename = :name"), {"name": table_name(collection)}
        )
        (hnsw,) = [one for one in indexes if "hnsw" in one]
        assert "vector_cosine_ops" in hnsw
        assert "m='16'" in hnsw
        assert "ef_construction='64'" in hnsw


async def test_wide_vectors_have_no_hnsw(site: Site) -> None:
    """More than 2000 dimensions cannot be indexed by pgvector. The table works without an index."""
    collection = collection_name("Vector_index", str(uuid4()))
    async with site.transaction() as session:
        await INDEX.create(session, collection, 2001)
        await INDEX.upsert(session, collection, [make_entry([1.0] * 2001, str(uuid4()))])
        assert await INDEX.count(session, collection) == 1


async def test_upsert_search_and_delete(site: Site) -> None:
    """The nearest come first. A node id exists once. Deletions remove the named entries."""
    collection, mine, other = collection_name("V", str(uuid4())), str(uuid4()), str(uuid4())
    node = str(uuid4())
    async with site.transaction() as session:
        await INDEX.create(session, collection, 2)
        await INDEX.upsert(
            session,
            collection,
            [make_entry([1.0, 0.0], mine, node, "old"), make_entry([0.0, 1.0], mine), make_entry([0.6, 0.8], other)],
        )
        await INDEX.upsert(session, collection, [make_entry([1.0, 0.0], mine, node, "new")])
        found = await INDEX.search(session, VectorQuery(collection, "", [1.0, 0.0]), 2)
        assert [(match.content, match.document_id, round(match.score, 4)) for match in found] == [
            ("new", mine, 1.0),
            ("text", other, 0.6),
        ]
        await INDEX.delete_nodes(session, collection, DATASET, [node])
        assert await INDEX.count(session, collection) == 2
        await INDEX.delete_document(session, collection, DATASET, mine)
        assert await INDEX.count(session, collection) == 1
        await INDEX.drop(session, collection, DATASET, shared=False)
        assert await INDEX.count(session, collection) == 0


async def test_a_wide_search_finds_as_many_as_asked_for(site: Site) -> None:
    """More than HNSW returns by default."""
    collection = collection_name("V", str(uuid4()))
    entries = [make_entry([1.0, number / 100], str(uuid4())) for number in range(200)]
    async with site.transaction() as session:
        await INDEX.create(session, collection, 2)
        await INDEX.upsert(session, collection, entries)
        await session.execute(text("set local enable_seqscan = off"))
        found = await INDEX.search(session, VectorQuery(collection, "", [1.0, 0.0]), 150)
        assert len(found) == 150
        assert [match.node_id for match in found[:3]] == [entry.node_id for entry in entries[:3]]


async def test_a_collection_that_is_not_there_holds_nothing(site: Site) -> None:
    """Reading, deleting and dropping cause no error."""
    collection = collection_name("V", str(uuid4()))
    async with site.transaction() as session:
        assert await INDEX.search(session, VectorQuery(collection, "", [1.0, 0.0]), 5) == []
        await INDEX.delete_nodes(session, collection, DATASET, [str(uuid4())])
        await INDEX.delete_document(session, collection, DATASET, str(uuid4()))
        await INDEX.drop(session, collection, DATASET, shared=False)
        assert await INDEX.count(session, collection) == 0


async def test_many_make_the_same_collection(site: Site) -> None:
    """Eight concurrent transactions: one creates it, the others wait and find it."""
    collection = collection_name("V", str(uuid4()))

    async def write() -> None:
        async with site.transaction() as session:
            await INDEX.create(session, collection, 2)
            await INDEX.upsert(session, collection, [make_entry([1.0, 0.0], str(uuid4()))])

    await asyncio.wait_for(asyncio.gather(*(write() for _ in range(8))), 30)
    async with site.transaction() as session:
        assert await INDEX.count(session, collection) == 8


async def test_a_name_is_data_and_never_sql(site: Site) -> None:
    """A collection name that looks like an attack is only a table name."""
    collection = 'x"; drop table documents; --'
    async with site.transaction() as session:
        await INDEX.create(session, collection, 2)
        await INDEX.upsert(session, collection, [make_entry([1.0, 0.0], str(uuid4()))])
        assert await INDEX.count(session, collection) == 1
        await INDEX.drop(session, collection, DATASET, shared=False)
        assert await session.scalar(text("select to_regclass('documents') is not null"))
