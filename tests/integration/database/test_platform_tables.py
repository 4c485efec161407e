"""The local stack's tables are the platform's own, and every insert gives what the database has no default for."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import JSON, Column, Engine, Uuid, insert
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from streams.agents.knowledge.document_indexing import index_document
from streams.dify.document_lock import IndexingRun
from streams.dify.indexing.segment_rows import NewChild, NewSegment, child_row, segment_row
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment, Model, Provider, metadata
from tests.support.platform.handler_runs import Site, open_site, prose
from tests.support.platform.table_facts import database_facts, platform_facts, required_columns

SECTION = "Faults of others"
DOCUMENT = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


@pytest.mark.requirement(SECTION, "S1: the local stack's tables are exactly those of the platform's migrations")
def test_the_tables_are_those_of_the_platform_s_migrations(engine: Engine) -> None:
    """Names, types, nullability, defaults of the database, keys and indexes: no difference in any used table."""
    with engine.connect() as connection:
        found = database_facts(connection)
    expected = platform_facts()
    assert {fact.split()[0] for fact in expected} == set(metadata.tables)
    assert sorted(expected - found) == []
    assert sorted(found - expected) == []


@pytest.mark.requirement(SECTION, "S1: every table takes a row through its model")
def test_each_table_takes_a_row(engine: Engine) -> None:
    """A row with the required columns is inserted by the ORM. Its columns come back with the types of the model."""
    models = [mapper.class_ for mapper in Model.registry.mappers]
    with Session(engine) as session:
        for model in models:
            columns = metadata.tables[model.__tablename__].columns
            given = {name: _example(columns[name]) for name in required_columns(model)}
            row = model(**given)
            session.add(row)
            session.flush()
            session.refresh(row)
            assert {name: getattr(row, name) for name in given} == given, model
            returned = {column.name: getattr(row, column.name) for column in columns}
            assert {name for name, value in returned.items() if value is None} <= _nullable(columns), model
    assert len(models) == len(metadata.tables)


def _example(column: Column[object]) -> object:
    if isinstance(column.type, Uuid):
        return DOCUMENT
    if isinstance(column.type, JSON):
        return {"name": "text"}
    if column.type.python_type is datetime:
        return datetime(2026, 1, 1)  # noqa: DTZ001 - the platform's columns have no time zone
    return column.type.python_type(*([1] if column.type.python_type in {int, float, Decimal} else []))


def _nullable(columns: ReadOnlyColumnCollection[str, Column[object]]) -> set[str]:
    return {column.name for column in columns if column.nullable}


@pytest.mark.requirement(SECTION, "S1: an insert gives every column that is NOT NULL and has no default")
def test_a_row_gives_every_column_that_isrequired_columns() -> None:
    """The rows that indexing inserts name them all; nothing relies on a default that only the ORM knows."""
    document = Document(id=DOCUMENT, tenant_id=DOCUMENT, dataset_id=DOCUMENT, created_by=DOCUMENT)
    run = IndexingRun(DOCUMENT, DOCUMENT, DOCUMENT, datetime.now(tz=UTC))
    segment = segment_row(document, run, NewSegment(1, "text", "hash", None, 1))
    child = child_row(document, run, NewChild(1, "hash", 1, "text", "hash"))
    assert required_columns(DocumentSegment) <= set(segment)
    assert required_columns(ChildChunk) <= set(child)


@pytest.mark.requirement(SECTION, "S1: a document is indexed on tables without the ORM's defaults")
async def test_a_document_is_indexed_on_the_platform_s_tables(site: Site) -> None:
    """It gets its segments, and no column relies on a default that the platform's database has not."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(2))
    await site.run(index_document, site.request(document))
    assert (await site.document(document.id)).indexing_status == "completed"
    assert {one.hit_count for one in await site.segments(document.id)} == {0}


async def test_what_the_platform_writes_for_a_model_that_is_not_named(site: Site) -> None:
    """The ORM writes NULL, as the platform's does, and not the database's default of a model of long ago."""
    dataset = await site.add_dataset()
    async with site.transaction() as session:
        kept = await session.get_one(Dataset, dataset.id)
        assert (kept.embedding_model, kept.embedding_model_provider) == (None, None)
        made = insert(Provider).values(tenant_id=site.tenant_id, provider_name="openai").returning(Provider)
        provider = (await session.scalars(made)).one()
        assert (provider.quota_used, provider.credential_status) == (0, "active")
