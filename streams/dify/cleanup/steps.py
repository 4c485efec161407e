"""Deletes what a deleted document or dataset has left, in bounded steps, and checks that nothing is left.

Everything is found by the ids in the event. So it works after the rows of document and dataset are deleted. Vectors are
deleted with or before the rows that contain their ids. So an interrupted clean-up finds them again.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import lock_cleanup
from streams.dify.cleanup.delete import (
    DatasetCleanupStep,
    remove_documents,
    remove_own_files,
    remove_rows,
    remove_segments,
    remove_vectors,
)
from streams.dify.cleanup.leftovers import Scope, count_rows
from streams.dify.errors import LeftBehindError
from streams.dify.keywords.file import keyword_file
from streams.dify.keywords.table import count_orphans, remove_orphans
from streams.dify.models import Dataset, Document
from streams.dify.platform import Platform
from streams.dify.sql import one_of
from streams.dify.tenancy import tenant_of_deleted_dataset, tenant_of_documents
from streams.dify.vector_collections import collections_of, has_other_users


@dataclass(frozen=True, slots=True)
class DeletedDocument:
    """The facts that a clean-up has about a document whose row is deleted."""

    dataset_id: str
    document_id: str
    tenant_id: str | None
    file_id: str | None
    """The upload file of the document."""


@dataclass(frozen=True, slots=True)
class DeletedDataset:
    """The facts that a clean-up has about a dataset whose row is deleted."""

    dataset_id: str
    tenant_id: str | None
    index_struct: str | None
    collection_binding_id: str | None


async def existing_documents(session: AsyncSession, document_ids: list[str]) -> list[str]:
    """Return the ids of the documents whose rows (still) exist."""
    return list(await session.scalars(select(Document.id).where(one_of(Document.id, document_ids))))


async def dataset_exists(session: AsyncSession, dataset_id: str) -> bool:
    """Return whether the dataset's row (still) exists."""
    return bool(await session.scalar(select(exists().where(Dataset.id == dataset_id))))


async def clean_deleted_document(
    session: AsyncSession, platform: Platform, deleted: DeletedDocument
) -> DatasetCleanupStep:
    """Execute one step after the deletion of a document.

    Raises RefusedError, and LeftBehindError if something is left after the last step.
    """
    await _lock(session, deleted.dataset_id, deleted.document_id)
    dataset = await session.get(Dataset, deleted.dataset_id)
    struct, binding_id = (dataset.index_struct, dataset.collection_binding_id) if dataset else (None, None)
    collections = await collections_of(session, platform, deleted.dataset_id, struct, binding_id)
    tenant_id = await tenant_of_documents(session, deleted.dataset_id, [deleted.document_id], deleted.tenant_id)
    step = DatasetCleanupStep(session, platform, Scope(deleted.dataset_id, deleted.document_id, tenant_id))
    if not await remove_segments(step, collections):
        return step
    await remove_vectors(step, collections, deleted.document_id)
    if not (await remove_rows(step) and await remove_own_files(step, deleted.document_id, deleted.file_id)):
        return step
    left = Counter(await count_rows(session, step.scope, deleted.file_id))
    for collection in collections:
        left["vectors"] += await platform.vectors.count(
            session, collection, dataset_id=deleted.dataset_id, document_id=deleted.document_id
        )
    if dataset is not None:
        # If the dataset is deleted too, its clean-up deletes the whole table.
        swept = await remove_orphans(session, platform.storage, dataset.tenant_id, dataset.id)
        step.removed["keyword nodes"] += swept
        left["keyword nodes"] = await count_orphans(session, dataset.id) if swept else 0
    _finish(step, left)
    return step


async def clean_deleted_dataset(
    session: AsyncSession, platform: Platform, deleted: DeletedDataset
) -> DatasetCleanupStep:
    """Execute one step after the deletion of a dataset. Raises the same errors as `clean_deleted_document`.

    Every step drops the collections first. So no vector outlives the segment that contains its id.
    """
    await _lock(session, deleted.dataset_id)
    collections = await collections_of(
        session, platform, deleted.dataset_id, deleted.index_struct, deleted.collection_binding_id
    )
    tenant_id = await tenant_of_deleted_dataset(session, deleted.dataset_id, deleted.tenant_id)
    step = DatasetCleanupStep(session, platform, Scope(deleted.dataset_id, None, tenant_id))
    for collection in collections:
        shared = await has_other_users(session, collection, deleted.dataset_id)
        dropped = await platform.vectors.drop(session, collection, deleted.dataset_id, shared=shared)
        step.removed["collections"] += dropped
    if not (await remove_segments(step, ()) and await remove_documents(step) and await remove_rows(step)):
        return step
    left = Counter(await count_rows(session, step.scope, None))
    for collection in collections:
        left["vectors"] += await platform.vectors.count(session, collection, dataset_id=deleted.dataset_id)
    if tenant_id is not None:
        await platform.storage.delete(keyword_file(tenant_id, deleted.dataset_id))
    _finish(step, left)
    return step


async def _lock(session: AsyncSession, dataset_id: str, document_id: str | None = None) -> None:
    """Lock the clean-up of this document, or of this dataset, until the transaction ends.

    So no two clean-ups wait for each other's rows. Each sees at its end what is left, and not what another is about to
    delete.
    """
    if document_id is None:
        await lock_cleanup(session, f"dataset {dataset_id}")
    else:
        await lock_cleanup(session, f"document {document_id}", f"dataset {dataset_id}")


def _finish(step: DatasetCleanupStep, left: Mapping[str, int]) -> None:
    """Mark the step as the last one. Raises LeftBehindError if something is left."""
    found = ", ".join(f"{count} {name}" for name, count in left.items() if count)
    if found:
        message = f"the clean-up of {step.scope} has ended, but these are left: {found}"
        raise LeftBehindError(message)
    step.done = True
