"""Bounded deletions, the parts of a clean-up step. Each returns whether nothing of its kind is left.

The statements select rows by index and in sets. So a step costs as much as the rows that it deletes, not as much as the
size of the tables. More rows are assumed only if a step deleted its maximum. So a row that cannot be deleted ends the
steps instead of repeating them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.leftovers import SEGMENTS, Scope
from streams.dify.errors import RefusedError
from streams.dify.ids import valid_ids
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment, metadata
from streams.dify.platform import Platform
from streams.dify.sources.reference import upload_file_id
from streams.dify.sql import affected_rows, one_of
from streams.dify.tenancy import of_event, one_tenant
from streams.dify.uploads import files

ROWS_PER_STEP = 10_000
"""The number of rows of a table that one step deletes, with their vectors."""
DOCUMENTS_PER_STEP = 100
"""The number of documents that one step deletes. Each may have a file in the storage."""


@dataclass(slots=True)
class DatasetCleanupStep:
    """One bounded step of the clean-up after a dataset or a document, in one transaction."""

    session: AsyncSession
    platform: Platform
    scope: Scope
    removed: Counter[str] = field(default_factory=Counter)
    """The number of deleted objects, by kind."""
    kept: Counter[str] = field(default_factory=Counter)
    """The number of named objects that were not deleted, because they are not the tenant's; by kind."""
    done: bool = False
    """True: nothing is left. False: another step has to follow."""


async def remove_segments(step: DatasetCleanupStep, collections: Sequence[str]) -> bool:
    """Delete some segments with their child chunks and images, and the vectors of both in the collections.

    Child chunks are deleted first. Returns True if no segment is left.
    """
    session = step.session
    of_scope = step.scope.rows(SEGMENTS)
    segment_ids = list(await session.scalars(select(DocumentSegment.id).where(of_scope).limit(ROWS_PER_STEP)))
    if not segment_ids:
        return True
    children = select(ChildChunk.id).where(one_of(ChildChunk.segment_id, segment_ids)).limit(ROWS_PER_STEP)
    nodes = await session.scalars(
        delete(ChildChunk)
        .where(ChildChunk.id.in_(children))
        .returning(ChildChunk.index_node_id)
        .execution_options(synchronize_session=False)
    )
    if await _remove_nodes(step, collections, ChildChunk.__tablename__, nodes.all()) == ROWS_PER_STEP:
        return False
    images = await files.delete_linked_images(session, step.platform.storage, segment_ids)
    step.removed["images"] += images
    if images == files.FILES_PER_STEP:
        return False
    nodes = await session.scalars(
        delete(DocumentSegment)
        .where(one_of(DocumentSegment.id, segment_ids))
        .returning(DocumentSegment.index_node_id)
        .execution_options(synchronize_session=False)
    )
    return await _remove_nodes(step, collections, DocumentSegment.__tablename__, nodes.all()) < ROWS_PER_STEP


async def _remove_nodes(
    step: DatasetCleanupStep, collections: Sequence[str], table: str, nodes: Iterable[str | None]
) -> int:
    """Delete the vectors of rows that were just deleted. Returns the number of rows."""
    rows = list(nodes)
    step.removed[table] += len(rows)
    # Ids in a store are always UUIDs.
    known = valid_ids(node for node in rows if node is not None) if collections else []
    vectors, dataset_id = step.platform.vectors, step.scope.dataset_id
    for collection in collections:
        step.removed["vectors"] += await vectors.delete_nodes(step.session, collection, dataset_id, known)
    return len(rows)


async def remove_vectors(step: DatasetCleanupStep, collections: Sequence[str], document_id: str) -> None:
    """Delete the vectors of a document whose rows were deleted without them."""
    for collection in collections:
        removed = await step.platform.vectors.delete_document(
            step.session, collection, step.scope.dataset_id, document_id
        )
        step.removed["vectors"] += removed


async def remove_rows(step: DatasetCleanupStep) -> bool:
    """Delete some rows of each table that refers to the scope by its ids only. Returns True if no row is left."""
    emptied = True
    for table in step.scope.tables:
        key = list(table.primary_key.columns)
        keys = select(*key).where(step.scope.rows(table)).limit(ROWS_PER_STEP)
        count = await affected_rows(step.session, delete(table).where(tuple_(*key).in_(keys)))
        step.removed[table.name] += count
        emptied = emptied and count < ROWS_PER_STEP
    return emptied


async def remove_own_files(step: DatasetCleanupStep, document_id: str, file_id: str | None) -> bool:
    """Delete the extracted images of a document, also images that no segment shows, and finally the source file.

    Returns True if nothing is left.
    """
    session, storage, tenant_id = step.session, step.platform.storage, step.scope.tenant_id
    images = await files.delete_images_of(session, storage, document_id, tenant_id)
    step.removed["images"] += images
    if images == files.FILES_PER_STEP:
        return False
    if file_id is not None:
        step.removed["files"] += await files.delete_files(session, storage, [file_id], tenant_id)
        step.kept["files"] += await files.count_foreign(session, [file_id], tenant_id)
    return True


async def remove_documents(step: DatasetCleanupStep) -> bool:
    """Delete some documents of a dataset with their source files, after all extracted images of the dataset.

    Returns True if no document is left.
    """
    session, storage, dataset_id = step.session, step.platform.storage, step.scope.dataset_id
    images = await files.delete_images_of_dataset(session, storage, dataset_id, step.scope.tenant_id)
    step.removed["images"] += images
    if images == files.FILES_PER_STEP:
        return False
    found = await session.execute(
        select(Document.id, Document.tenant_id, Document.data_source_type, Document.data_source_info)
        .where(step.scope.rows(metadata.tables[Document.__tablename__]))
        .limit(DOCUMENTS_PER_STEP)
    )
    documents = found.all()
    of_tenants: dict[str, set[str]] = {}
    for _, tenant_id, source_type, source_info in documents:
        file_id = _source_file(source_type, source_info)
        if file_id is not None:
            of_tenants.setdefault(tenant_id, set()).add(file_id)
    for tenant_id, file_ids in of_tenants.items():
        step.removed["files"] += await files.delete_files(session, storage, file_ids, tenant_id)
    ids = [document_id for document_id, *_ in documents]
    removed = await affected_rows(session, delete(Document).where(Document.id.in_(ids)))
    step.removed[Document.__tablename__] += removed
    return removed < DOCUMENTS_PER_STEP


@dataclass(frozen=True, slots=True)
class RemovedDocument:
    """The facts about a deleted document that its clean-up needs."""

    document_id: str
    tenant_id: str
    doc_form: str
    file_id: str | None


async def remove_document_rows(
    session: AsyncSession, dataset_id: str, document_ids: Iterable[str], tenant_id: str | None
) -> list[RemovedDocument]:
    """Delete the rows of the documents that belong to the dataset and its tenant.

    Waits for running steps of their indexing. Locks in the same order as such a step: the dataset before the documents.
    The documents are locked in the order of their ids. So there is no deadlock.

    Args:
        session: the transaction.
        dataset_id: the dataset.
        document_ids: the documents; unknown ids are skipped.
        tenant_id: the tenant that the request names; None: it names none.

    Raises:
        ForeignTenantError: the dataset belongs to another tenant.
    """
    owner = await session.scalar(
        select(Dataset.tenant_id).where(Dataset.id == dataset_id).with_for_update(read=True, key_share=True)
    )
    tenant_id = one_tenant(of_event(tenant_id), (f"dataset {dataset_id}", owner))
    query = select(
        Document.id, Document.tenant_id, Document.doc_form, Document.data_source_type, Document.data_source_info
    )
    query = query.where(Document.id.in_(document_ids), Document.dataset_id == dataset_id)
    if tenant_id is not None:
        query = query.where(Document.tenant_id == tenant_id)
    found = (await session.execute(query.order_by(Document.id).with_for_update())).all()
    await session.execute(delete(Document).where(Document.id.in_([document_id for document_id, *_ in found])))
    return [
        RemovedDocument(document_id, owner, form, _source_file(source_type, source_info))
        for document_id, owner, form, source_type, source_info in found
    ]


def _source_file(data_source_type: str, data_source_info: str | None) -> str | None:
    """Return the upload file to delete with a document; None for other sources, and for rows that name no file."""
    try:
        return upload_file_id(data_source_type, data_source_info)
    except RefusedError:
        return None
