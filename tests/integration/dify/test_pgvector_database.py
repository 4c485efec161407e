"""Vectors in a database of their own (STREAMS_PGVECTOR_URL), and the extension that they need."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url, text

from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.dify.errors import VectorStoreError
from streams.dify.models import Document
from streams.dify.search import passages
from streams.dify.vector_stores.pgvector import table_name
from streams.dify.vector_stores.pgvector_database import VectorDatabase, vector_database
from streams.settings import Settings, SettingsError
from tests.support.local_stack.databases import admin, admin_url
from tests.support.local_stack.stack import Stack
from tests.support.platform.handler_runs import Site, open_site, prose

SECTION = "Faults of others"
TEXT = "S2: vectors in a database of their own; the extension is created, or one line says that it is missing"
EXTENSION = text("select count(*) from pg_extension where extname = 'vector'")


@pytest.fixture
def vectors_url(stack: Stack) -> Iterator[str]:
    """An empty database without the extension, and an account that may create it."""
    name = f"vectors_{uuid4().hex[:8]}"
    with admin(stack) as connection:
        connection.execute(f"create database {name} template template0")
        yield admin_url(stack, name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
async def site(database_url: str, tmp_path: Path, vectors_url: str) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files", pgvector_url=vectors_url) as opened:
        yield opened


def database_of(vectors_url: str) -> VectorDatabase:
    found = vector_database(Settings.model_validate({"pgvector_url": vectors_url}))
    assert found is not None
    return found


@pytest.mark.requirement(SECTION, TEXT)
async def test_vectors_are_in_the_other_database(site: Site, vectors_url: str) -> None:
    """The extension is created there, the document is found, and its clean-up leaves no vector and is repeated."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(3))
    await site.run(index_document, site.request(document))
    assert await site.vectors(dataset.id) == 3
    async with site.transaction() as session:
        name = table_name(site.collection(dataset.id))
        assert not await session.scalar(text("select to_regclass(:name) is not null"), {"name": name})
        found = await passages(session, site.platform, dataset.id, "Which door is open on day 3?", 2)
        assert len(found) == 2
    async with database_of(vectors_url).transaction() as session:
        assert await session.scalar(EXTENSION) == 1
    await site.delete(Document, id=document.id)
    result = await site.run(clean_document, site.document_deleted(document))
    assert isinstance(result, dict)
    assert result["removed"] == {"document_segments": 3, "vectors": 3}
    assert await site.vectors(dataset.id) == 0
    assert len(await site.published()) == 1, "the repetition, since the stores have no common transaction"


@pytest.mark.requirement(SECTION, TEXT)
async def test_a_missing_extension_is_one_line(
    stack: Stack, database_url: str, tmp_path: Path, vectors_url: str
) -> None:
    """Whoever may not create it is told what to do. The ledger's transaction is rolled back."""
    role = f"limited_{uuid4().hex[:8]}"
    with psycopg.connect(stack.database_admin_url) as connection:
        connection.execute(f"create role {role} login password 'p'")
    try:
        limited = make_url(vectors_url).set(username=role, password="p").render_as_string(hide_password=False)
        async with open_site(database_url, tmp_path / "files", pgvector_url=limited) as site:
            with pytest.raises(
                VectorStoreError, match=r"no extension vector: permission denied .*STREAMS_PGVECTOR_URL$"
            ):
                async with site.transaction() as session:
                    await site.platform.vectors.create(session, "V_1", 3)
    finally:
        with psycopg.connect(stack.database_admin_url) as connection:
            connection.execute(f"drop role {role}")


@pytest.mark.requirement(SECTION, TEXT)
async def test_the_extension_is_created_in_the_platform_s_database(
    stack: Stack, database_url: str, tmp_path: Path
) -> None:
    """Nothing else creates it there before the first collection, if the account may."""
    own = admin_url(stack, make_url(database_url).database)
    async with open_site(own, tmp_path / "files") as site:
        async with site.transaction() as session:
            await session.execute(text("drop extension vector"))
        dataset = await site.add_dataset()
        document = await site.add_document(dataset, prose(1))
        await site.run(index_document, site.request(document))
        assert await site.vectors(dataset.id) == 1


async def test_a_database_that_does_not_answer_is_a_failed_store(database_url: str, tmp_path: Path) -> None:
    """Its error is the vector store's: it says nothing about the database of the ledger."""
    nowhere = "postgresql://u:secret@127.0.0.1:9/vectors"
    async with open_site(database_url, tmp_path / "files", pgvector_url=nowhere) as site, site.transaction() as session:
        with pytest.raises(VectorStoreError, match="the database of STREAMS_PGVECTOR_URL failed: ") as failed:
            await site.platform.vectors.count(session, "V_1")
        assert "secret" not in str(failed.value)
        assert await session.scalar(text("select 1")) == 1


@pytest.mark.parametrize("wrong", ["mysql://x/y", "nonsense", "postgresql://[::1/x", ""])
def test_another_url_is_refused_by_name(wrong: str) -> None:
    """One line that names the setting and does not repeat the value, which may have a password."""
    with pytest.raises(SettingsError, match=r"^STREAMS_PGVECTOR_URL is not a URL of PostgreSQL") as refused:
        vector_database(Settings.model_validate({"pgvector_url": wrong}))
    assert not wrong or wrong not in str(refused.value)
