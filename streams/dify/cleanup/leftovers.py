"""Finds and counts the rows that a document or a dataset has left."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, ScalarSelect, Table, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.tables import answered_chunks
from streams.dify.models import (
    AppDatasetJoin,
    ChildChunk,
    DatasetAutoDisableLog,
    DatasetKeywordTable,
    DatasetMetadata,
    DatasetMetadataBinding,
    DatasetProcessRule,
    DatasetQuery,
    Document,
    DocumentSegment,
    Model,
    UploadFile,
    metadata,
)
from streams.dify.uploads.files import file_of, images_of


def _tables(*models: type[Model]) -> tuple[Table, ...]:
    return tuple(metadata.tables[model.__tablename__] for model in models)


DOCUMENT_TABLES = (*_tables(ChildChunk, DatasetMetadataBinding, DatasetAutoDisableLog), answered_chunks)
"""The tables to clean after the segments of a document."""
DATASET_TABLES = (
    *DOCUMENT_TABLES,
    *_tables(DatasetMetadata, DatasetProcessRule, DatasetQuery, AppDatasetJoin, DatasetKeywordTable),
)
"""The tables to clean after the segments and documents of a dataset."""
SEGMENTS, _DOCUMENTS, _FILES = _tables(DocumentSegment, Document, UploadFile)


@dataclass(frozen=True, slots=True)
class Scope:
    """The document or dataset to clean up after."""

    dataset_id: str
    document_id: str | None
    """None: the whole dataset."""
    tenant_id: str | None
    """None: unknown. Then child chunks and images are found by reading their whole tables."""

    def __str__(self) -> str:
        return f"dataset {self.dataset_id}" if self.document_id is None else f"document {self.document_id}"

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables whose rows are selected by the ids of the scope only."""
        return DATASET_TABLES if self.document_id is None else DOCUMENT_TABLES

    def rows(self, table: Table) -> ColumnElement[bool]:
        """Return a condition for the rows of a table in the scope, of its tenant only. It uses indexed columns."""
        if self.document_id is None:
            ids = {"dataset_id": self.dataset_id}
        elif table.name == DatasetAutoDisableLog.__tablename__:
            ids = {"dataset_id": self.dataset_id, "document_id": self.document_id}
        else:
            ids = {"document_id": self.document_id}
        if self.tenant_id is not None and "tenant_id" in table.c:
            ids["tenant_id"] = self.tenant_id
            if table.name == ChildChunk.__tablename__:
                ids["dataset_id"] = self.dataset_id
        return and_(*(table.c[name] == value for name, value in ids.items()))


async def count_rows(session: AsyncSession, scope: Scope, file_id: str | None) -> dict[str, int]:
    """Return the number of rows of the scope by table, in one query. Tables without rows are left out.

    `file_id` is the upload file of the document.
    """
    tables = [SEGMENTS, *scope.tables, *([_DOCUMENTS] if scope.document_id is None else [])]
    counts = {table.name: _count(table, scope.rows(table)) for table in tables}
    if scope.document_id is not None:
        counts["images"] = _count(_FILES, images_of(scope.document_id, scope.tenant_id))
        counts["files"] = _count(_FILES, file_of(file_id, scope.tenant_id))
    row = (await session.execute(select(*counts.values()))).one()
    return {name: count for name, count in zip(counts, row, strict=True) if count}


def _count(table: Table, which: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(table).where(which).scalar_subquery()
