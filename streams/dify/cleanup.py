"""What is left of a deleted document or dataset goes: vectors first, then the rows that know their ids.

All of it finds its targets by the ids in the event, so it works when the rows of document and dataset are gone.
"""

from dataclasses import dataclass

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.answers import forget_answers, forget_answers_of_dataset
from streams.dify.binding import collections_of
from streams.dify.files import delete_files, delete_images, delete_images_of, images_in
from streams.dify.keyword_table import take_document
from streams.dify.models import (
    AppDatasetJoin,
    ChildChunk,
    Dataset,
    DatasetKeywordTable,
    DatasetMetadata,
    DatasetMetadataBinding,
    DatasetProcessRule,
    DatasetQuery,
    Document,
    DocumentSegment,
)
from streams.dify.platform import Platform
from streams.dify.refusals import RefusedError
from streams.dify.source import upload_file_id

SEGMENTS_A_STEP = 1000
DOCUMENTS_A_STEP = 50
ROWS_A_STEP = 1000

_OF_A_DATASET = (
    ChildChunk,
    DatasetMetadataBinding,
    DatasetMetadata,
    DatasetProcessRule,
    DatasetQuery,
    AppDatasetJoin,
    DatasetKeywordTable,
)
"""Removed by dataset id, after segments and documents."""


@dataclass(frozen=True, slots=True)
class DeletedDocument:
    """What a clean-up knows of a document whose row is gone."""

    dataset_id: str
    document_id: str
    tenant_id: str | None
    file_id: str | None
    """The upload file that it was made from."""


@dataclass(frozen=True, slots=True)
class DeletedDataset:
    """What a clean-up knows of a dataset whose row is gone."""

    dataset_id: str
    tenant_id: str | None
    index_struct: str | None
    collection_binding_id: str | None


async def document_stands(session: AsyncSession, document_id: str) -> bool:
    """Whether the document's row is (still) there."""
    return bool(await session.scalar(select(exists().where(Document.id == document_id))))


async def dataset_stands(session: AsyncSession, dataset_id: str) -> bool:
    """Whether the dataset's row is (still) there."""
    return bool(await session.scalar(select(exists().where(Dataset.id == dataset_id))))


async def clean_deleted_document(session: AsyncSession, platform: Platform, deleted: DeletedDocument) -> dict[str, int]:
    """Vectors, images, child chunks, segments, metadata bindings and source file of a document; returns counts."""
    dataset = await session.get(Dataset, deleted.dataset_id)
    struct, binding_id = (dataset.index_struct, dataset.collection_binding_id) if dataset else (None, None)
    for collection in await collections_of(session, platform, deleted.dataset_id, struct, binding_id):
        await platform.vectors.delete_document(session, collection, deleted.document_id)
    await take_document(session, deleted.dataset_id, deleted.document_id)
    of_document = DocumentSegment.document_id == deleted.document_id
    pictured = await session.execute(
        select(DocumentSegment.tenant_id, DocumentSegment.content).where(
            of_document, DocumentSegment.content.contains("-preview")
        )
    )
    files = await _delete_pictured(session, platform, [(tenant, content) for tenant, content in pictured])
    files += await delete_images_of(session, platform.storage, [deleted.document_id], deleted.tenant_id)
    await session.execute(
        delete(ChildChunk).where(
            ChildChunk.dataset_id == deleted.dataset_id, ChildChunk.document_id == deleted.document_id
        )
    )
    await forget_answers(session, deleted.document_id)
    segments = await session.execute(delete(DocumentSegment).where(of_document).returning(DocumentSegment.id))
    removed = len(segments.all())
    await session.execute(
        delete(DatasetMetadataBinding).where(DatasetMetadataBinding.document_id == deleted.document_id)
    )
    if deleted.file_id is not None:
        files += await delete_files(session, platform.storage, [deleted.file_id], deleted.tenant_id)
    return {"segments": removed, "files": files}


async def _delete_pictured(session: AsyncSession, platform: Platform, contents: list[tuple[str, str]]) -> int:
    images: dict[str, set[str]] = {}
    for tenant_id, content in contents:
        images.setdefault(tenant_id, set()).update(images_in(content))
    return sum(
        [await delete_images(session, platform.storage, found, tenant_id) for tenant_id, found in images.items()]
    )


async def clean_deleted_dataset(session: AsyncSession, platform: Platform, deleted: DeletedDataset) -> bool:
    """One bounded step: the collections, then as many rows as a step may take. True: nothing is left.

    Dropping the collections comes first in every step: no vector outlives the segment that knows its id.
    """
    for collection in await collections_of(
        session, platform, deleted.dataset_id, deleted.index_struct, deleted.collection_binding_id
    ):
        await platform.vectors.drop(session, collection, deleted.dataset_id)
    if await _delete_segments(session, platform, deleted) == SEGMENTS_A_STEP:
        return False
    if await _delete_documents(session, platform, deleted) == DOCUMENTS_A_STEP:
        return False
    await _delete_keyword_file(session, platform, deleted)
    await forget_answers_of_dataset(session, deleted.dataset_id)
    for model in _OF_A_DATASET:
        some = select(model.id).where(model.dataset_id == deleted.dataset_id).limit(ROWS_A_STEP)
        removed = await session.execute(delete(model).where(model.id.in_(some)).returning(model.id))
        if len(removed.all()) == ROWS_A_STEP:
            return False
    return not await _anything_left(session, deleted.dataset_id)


async def _delete_segments(session: AsyncSession, platform: Platform, deleted: DeletedDataset) -> int:
    found = await session.execute(
        select(DocumentSegment.id, DocumentSegment.tenant_id, DocumentSegment.content)
        .where(DocumentSegment.dataset_id == deleted.dataset_id)
        .limit(SEGMENTS_A_STEP)
    )
    segments = found.all()
    ids = [segment_id for segment_id, _, _ in segments]
    await _delete_pictured(session, platform, [(tenant, content) for _, tenant, content in segments])
    await session.execute(delete(ChildChunk).where(ChildChunk.segment_id.in_(ids)))
    await session.execute(delete(DocumentSegment).where(DocumentSegment.id.in_(ids)))
    return len(segments)


async def _delete_documents(session: AsyncSession, platform: Platform, deleted: DeletedDataset) -> int:
    found = await session.execute(
        select(Document.id, Document.tenant_id, Document.data_source_type, Document.data_source_info)
        .where(Document.dataset_id == deleted.dataset_id)
        .limit(DOCUMENTS_A_STEP)
    )
    documents = found.all()
    files: dict[str, set[str]] = {}
    tenants: dict[str, list[str]] = {}
    for document_id, tenant_id, source_type, source_info in documents:
        tenants.setdefault(tenant_id, []).append(document_id)
        file_id = _file_of(source_type, source_info)
        if file_id is not None:
            files.setdefault(tenant_id, set()).add(file_id)
    for tenant_id, file_ids in files.items():
        await delete_files(session, platform.storage, file_ids, tenant_id)
    for tenant_id, document_ids in tenants.items():
        await delete_images_of(session, platform.storage, document_ids, tenant_id)
    await session.execute(delete(Document).where(Document.id.in_([document_id for document_id, *_ in documents])))
    return len(documents)


def _file_of(data_source_type: str, data_source_info: str | None) -> str | None:
    """The upload file to remove with a document; other sources, and rows that name no file, have none."""
    try:
        return upload_file_id(data_source_type, data_source_info)
    except RefusedError:
        return None


async def _delete_keyword_file(session: AsyncSession, platform: Platform, deleted: DeletedDataset) -> None:
    kind = await session.scalar(
        select(DatasetKeywordTable.data_source_type).where(DatasetKeywordTable.dataset_id == deleted.dataset_id)
    )
    if kind is not None and kind != "database" and deleted.tenant_id is not None:
        await platform.storage.delete(f"keyword_files/{deleted.tenant_id}/{deleted.dataset_id}.txt")


async def _anything_left(session: AsyncSession, dataset_id: str) -> bool:
    for model in (DocumentSegment, Document, *_OF_A_DATASET):
        if await session.scalar(select(exists().where(model.dataset_id == dataset_id))):
            return True
    return False
